"""probe: base -> the linear probe (LP), the start of every fine-tune and itself a candidate."""

from typing import Any

from soup.data.split.prepare import read_csv
from soup.evaluation.heldout import Result, heldout_images, scored
from soup.models import open_model
from soup.pipeline.project import Project
from soup.train.linear_probe import probe


def run(project: Project) -> dict[str, Any]:
    """Train a linear head on features computed once, and score it on held-out.

    Without iterations the base's own head is scored, and no training image is looked at.
    """
    if project.params.probe.max_iterations == 0:
        return _facts(_as_it_is(project))
    result = probe(
        project.params.probe.penalty,
        project.params.probe.max_iterations,
        start=project.out / "base",
        development=project.development,
        root=project.images,
        target=project.out / "probe",
        cache=project.cache / "images",
        device=project.device(),
        batch_size=project.params.compute.eval_batch_size,
        cache_gib=project.params.compute.cache_gib,
        track=project.track,
    )
    return _facts(result)


def _as_it_is(project: Project) -> Result:
    architecture, model = open_model(project.out / "base")
    rows = read_csv(project.development)
    heldout = heldout_images(
        rows,
        project.images,
        architecture,
        project.cache / "images",
        project.params.compute.cache_gib,
        project.track,
    )
    size = project.params.compute.eval_batch_size
    model.to(project.device())
    return scored(model, heldout, architecture, project.out / "probe", size)


def _facts(result: Result) -> dict[str, Any]:
    return {
        "errors": result.errors,
        "examples": result.examples,
        "summary": f"{result.accuracy:.2%} held-out",
    }
