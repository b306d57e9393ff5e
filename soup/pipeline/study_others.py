"""Other finished projects in a study, and their backbones under the text classifier of one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from soup.config.params import load
from soup.errors import BadInput
from soup.evaluation.prediction_cache import digest_of
from soup.files import of_file, of_value
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage
from soup.pipeline.study_bench import bench_of, best_of, models_of
from soup.studies.bench import Bench
from soup.studies.model import Model
from soup.studies.other_data import ZERO_SHOT
from soup.weights import Weights, materialize, specs
from soup.weights.checkpoint import Checkpoint
from soup.weights.mapping import LazyWeights, Reader, reader
from soup.weights.shards import WEIGHTS_FILE


class Transplanted(LazyWeights):
    """The backbone of a model under the head of another, read when it is used."""

    def __init__(self, weights: LazyWeights, head: Weights) -> None:
        self._weights, self._head = weights, head
        self.specs = {**weights.specs, **specs(head)}

    def __getitem__(self, name: str) -> Tensor:
        return self._head[name] if name in self._head else self._weights[name]

    def reader(self, name: str) -> Reader:
        return reader(self._head if name in self._head else self._weights, name)


def projects_of(project: Project, files: Sequence[str]) -> dict[str, Project]:
    """The projects of parameter files (relative to the checkout), by experiment.

    Raises:
        BadInput: a file cannot be read, two have one experiment, or a sweep is not finished.
    """
    found: dict[str, Project] = {}
    for file in files:
        params = load(project.root / file)
        if params.experiment in (project.params.experiment, *found):
            raise BadInput(
                f"{file} has the experiment {params.experiment}, as another parameter file of this "
                "study has: each project needs its own"
            )
        other = replace(project, params=params)
        models_of(other, file)
        found[params.experiment] = other
    return found


def with_records(stage: Stage, project: Project, files: Sequence[str]) -> Stage:
    """The stage of a study, done again when the sweep of another project has changed."""
    if not files:
        return stage
    records = [
        of_file(other.out / f"{name}.json")
        for other in projects_of(project, files).values()
        for name in ("finetune", "cook")
    ]
    return replace(stage, digest=of_value([stage.digest, *records]))


def add_others(
    bench: Bench, project: Project, files: Sequence[str], images: int | None, transplants: bool
) -> None:
    """Open other projects in a bench.

    Args:
        transplants: add the base ('zero-shot') and the best single model of each other project, by
            its experiment, as models with the text classifier of `project`.

    Raises:
        BadInput: see `projects_of`; for `transplants` also if the bases differ, or have no text
            classifier.
    """
    bench.name = project.params.experiment
    named = zip(projects_of(project, files).items(), files, strict=True)
    if not transplants:
        bench.others = {name: bench_of(other, images, file) for (name, other), file in named}
        return
    if not files:
        return  # which the study says
    head = materialize(Checkpoint(project.out / "base" / "zeroshot.safetensors"))
    if not head:
        raise BadInput(
            "study other-data needs a CLIP-style base with a text classifier, and that of "
            f"{project.params.experiment} has none: give base.library open_clip, and prompts"
        )
    base = Checkpoint(project.out / "base" / WEIGHTS_FILE)
    ours, head_digest = _backbone(base, [*head]), digest_of(head)
    bench.models[ZERO_SHOT] = Model(
        ZERO_SHOT, Transplanted(base, head), of_value([ours, head_digest])
    )
    for (name, other), file in named:
        if _backbone(Checkpoint(other.out / "base" / WEIGHTS_FILE), [*head]) != ours:
            raise BadInput(
                f"{name} has another base than {project.params.experiment}: backbones are averaged "
                "only if all were fine-tuned from one model"
            )
        best = best_of(other, file)
        assert isinstance(best.weights, LazyWeights)
        bench.models[name] = Model(
            name, Transplanted(best.weights, head), of_value([best.digest, head_digest])
        )
        bench.others[name] = bench  # whose network makes the passes of all


def _backbone(weights: Checkpoint, head: Sequence[str]) -> str:
    """A digest of the tensors of a model but its head's."""
    return digest_of({name: weights[name] for name in weights if name not in head})


def existing(files: Sequence[str], root: Path) -> list[str]:
    """The files of other projects, relative to the checkout where they are in it.

    Raises:
        BadInput: one is missing.
    """
    told = []
    for file in files:
        path = Path(file) if Path(file).is_absolute() else Path.cwd() / file
        if not path.is_file() and (root / file).is_file():
            path = root / file
        if not path.is_file():
            raise BadInput(f"--other {file}: there is no such file of parameters")
        path = path.resolve()
        told.append(str(path.relative_to(root) if path.is_relative_to(root) else path))
    return told
