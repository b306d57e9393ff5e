"""A sweep: K fine-tunes of one initialisation, each kept in MLflow under its digest.

An ingredient's digest is made of its configuration, the initialisation, the split and the code, and
of nothing else: a larger K finds the first ones finished, an interrupted one goes on in its run and
from its state on disk, a changed one is made anew.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from filelock import FileLock

from soup.data.split import read_csv
from soup.errors import Failure
from soup.heldout import Result
from soup.project import Project
from soup.provenance import of_file, of_value
from soup.search import configurations
from soup.shelf import keep, keep_probe
from soup.tracking import Store
from soup.train.batches import steps_per_epoch
from soup.train.finetune import Job
from soup.train.process import Failed
from soup.train.process import run as in_process


class SweepError(Failure, RuntimeError):
    """A sweep without a single ingredient; the message says what to change."""


@runtime_checkable
class Watcher(Protocol):
    """Is told how the fine-tunes go on."""

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def done(self, name: str, message: str) -> None: ...


@dataclass(frozen=True)
class Sweep:
    """A sweep that is open in MLflow.

    Attributes:
        run_id: of the parent run.
        steps: how many steps each fine-tune takes.
    """

    store: Store
    run_id: str
    steps: dict[str, int]
    _jobs: dict[str, tuple[str, Job]]
    _tags: dict[str, str]
    _probe: Result

    @staticmethod
    def open(project: Project, code: str, threads: int) -> "Sweep":
        """Find or make the parent run, and lay out the fine-tunes.

        Args:
            code: digest of the source files that a fine-tune's result depends on.
            threads: CPU threads of each fine-tune.

        Raises:
            TrackingError: MLflow does not answer.
            ValueError: the search space has fewer points than runs.
        """
        s, c = project.params.sweep, project.params.compute
        start = project.out / "probe"
        base, split = of_file(start / "model.safetensors"), of_file(project.development)
        shared = {
            "code": code,
            "base": base,
            "split": split,
            **s.model_dump(mode="json", include={"batch_size", "warmup", "clip", "crop", "flip"}),
        }
        space = s.model_dump(mode="json", include={"method", "seed", "space"})
        digest = of_value({"sweep": shared, "space": space})
        store = project.store()
        tags = project.lineage() | {"base": base, "split": split, "sweep": digest}
        known = store.find(digest)
        name = f"sweep {digest[:8]}"
        run_id = known.run_id if known else store.start("sweep", digest, name, tags)
        jobs: dict[str, tuple[str, Job]] = {}
        for index, configuration in enumerate(configurations(s)):
            own = of_value({"configuration": configuration.as_dict(), **shared})
            jobs[f"ft-{index:03d}"] = (
                own,
                Job(
                    configuration=configuration,
                    start=start,
                    development=project.development,
                    root=project.images,
                    folder=project.cache / "runs" / own,
                    cache=project.cache / "images",
                    batch_size=s.batch_size,
                    warmup=s.warmup,
                    clip=s.clip,
                    crop=s.crop,
                    flip=s.flip,
                    device="cpu",
                    threads=threads,
                    checkpoint_seconds=c.checkpoint_seconds,
                    eval_batch_size=c.eval_batch_size,
                    cache_gib=c.cache_gib,
                ),
            )
        train = sum(row.split == "train" for row in read_csv(project.development))
        each = steps_per_epoch(train, s.batch_size)
        steps = {name: job.configuration.epochs * each for name, (_, job) in jobs.items()}
        probed = json.loads((project.out / "probe.json").read_text())
        probe = Result(probed["errors"], probed["examples"], start)
        return Sweep(store, run_id, steps, jobs, tags, probe)

    def run(self, name: str, device: str, watcher: Watcher) -> str:
        """Fine-tune one ingredient, or find it finished; its run id.

        Raises:
            Failed: it diverged or its process ended; the run is marked failed, with the reason.
        """
        digest, job = self._jobs[name]
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        # Two pipelines on one store: the second waits, and then finds it finished.
        with FileLock(job.folder.with_suffix(".lock")):
            known = self.store.find(digest)
            if known is not None:
                shutil.rmtree(job.folder, ignore_errors=True)
                watcher.done(name, "finished before")
                return known.run_id
            run_id = self.store.start(
                "ingredient", digest, name, self._tags, job.configuration.as_dict(), self.run_id
            )

            def log(step: int, metrics: dict[str, float]) -> None:
                self.store.log(run_id, step, metrics)
                watcher.step(name, step, metrics)

            started = time.monotonic()
            try:
                result = _finished(job) or in_process(replace(job, device=device), log)
            except Failed as error:
                self.store.end(run_id, failed=str(error))
                watcher.done(name, f"failed: {error}")
                raise
            keep(self.store, run_id, name, result, self._tags, self.steps[name])
            shutil.rmtree(job.folder, ignore_errors=True)
            seconds = time.monotonic() - started
            watcher.done(name, f"{result.accuracy:.2%} held-out in {seconds:.0f} s")
        return run_id

    def close(self, outcomes: Mapping[str, str | BaseException]) -> dict[str, Any]:
        """End the sweep with what each fine-tune returned or raised; facts for the record.

        Raises:
            SweepError: none finished; the message says what to change.
        """
        failed = {name: str(o) for name, o in outcomes.items() if isinstance(o, BaseException)}
        if len(failed) == len(outcomes):
            self.store.end(self.run_id, failed="every fine-tune failed")
            last = [*failed.values()][-1]
            raise SweepError(
                f"all {len(failed)} fine-tunes failed, the last because {last}; "
                "if they diverged, lower sweep.space.lr or sweep.clip"
            )
        runs = {"probe": keep_probe(self.store, self.run_id, self._probe, self._tags)}
        for name, run_id in outcomes.items():
            # A grid may hold one configuration twice; it is one ingredient.
            if name not in failed and run_id not in runs.values():
                runs[name] = str(run_id)
        self.store.end(self.run_id)
        best = self.store.ranked([*runs.values()])[0]
        return {
            "sweep": self.run_id,
            "runs": runs,
            "failed": failed,
            "summary": f"{len(runs) - 1} of {len(outcomes)} fine-tunes, "
            f"best {best.name} {best.metrics['heldout/accuracy']:.2%} held-out",
        }


def _finished(job: Job) -> Result | None:
    """The result on disk, of a fine-tune whose pipeline was killed before it was stored."""
    try:
        facts = json.loads((job.folder / "result.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return Result(facts["errors"], facts["examples"], job.folder / "ingredient")
