"""The fine-tunes of a sweep: what each is made of, and what trains it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from soup.files import of_value
from soup.pipeline.project import Project
from soup.pipeline.sweep.heldout_score import HeldoutScore
from soup.pipeline.sweep.part import Lent, Part
from soup.pipeline.sweep.sampling import sample
from soup.train.batches import steps_per_epoch
from soup.train.finetune import FINAL_WEIGHTS, Job, Results, finished, ingredients_of
from soup.train.loop import Log
from soup.train.worker_process import run


@dataclass(frozen=True)
class FineTune(Part):
    """One fine-tune. Its digest is of hyperparameters, initialisation, split and code alone.

    Attributes:
        job: what is trained.
    """

    job: Job

    @cached_property
    def names(self) -> dict[str, str]:
        averages = ingredients_of(self.job.hyperparameters)
        return {a: f"{self.name}-{a}" if a != FINAL_WEIGHTS else self.name for a in averages}

    @property
    def length(self) -> float:
        """Passes over the examples, forth and back: SAM makes two where others make one."""
        h = self.job.hyperparameters
        return h.epochs * (2 if h.sam else 1)

    def results(self) -> Results | None:
        return finished(self.job)

    def make(
        self,
        devices: Lent,
        begun: Callable[[], object],
        freed: Callable[[], object],
        log: Log,
        say: Callable[[str], None],
        until: float,
    ) -> Results | float:
        job, lend = replace(self.job, until=until), None
        if isinstance(devices, tuple):
            job = replace(job, devices=devices)
        else:
            lend = devices
        return run(job, log, say, begun, freed, lend)


def fine_tunes(
    project: Project, shared: Mapping[str, str], threads: int, score: HeldoutScore
) -> dict[str, FineTune]:
    """The fine-tunes that the parameters ask for, by name.

    Args:
        shared: digests of what all of them are made of: code, base, model, split.
        threads: CPU threads of each process.
        score: that fine-tunes are compared by on the way.

    Raises:
        ParamsError: the search space has fewer points than runs.
    """
    sweep, compute = project.params.sweep, project.params.compute
    examples = len(project.manifest(project.development).split("train"))
    # What touches the result beside the hyperparameters: see `Job`.
    tags = {"devices": str(compute.devices_per_run), "threads": str(threads)}
    parts = {}
    for index, hyperparameters in enumerate(sample(sweep)):
        params = hyperparameters.as_dict()
        digest = of_value({"hyperparameters": params, **shared})
        name = f"ft-{index:03d}"
        job = Job(
            hyperparameters=hyperparameters,
            start=project.out / "probe",
            development=project.development,
            root=project.images,
            folder=project.cache / "runs" / digest,
            cache=project.cache / "images",
            cache_gib=compute.cache_gib,
            devices=("cpu",) * compute.devices_per_run,
            threads=threads,
            sharding=compute.sharding,
            eval_batch_size=compute.eval_batch_size,
            checkpoint_seconds=compute.checkpoint_seconds,
            checkpoint_steps=compute.checkpoint_steps,
            limits=project.limits,
            score=score.name,
            positive=score.positive,
        )
        steps = steps_per_epoch(examples, hyperparameters.batch_size)
        total = hyperparameters.epochs * steps
        exact = {"hyperparameters": json.dumps(params)}
        shown = hyperparameters.readable()
        parts[name] = FineTune(digest, name, job.folder, total, shown, tags | exact, job)
    return parts
