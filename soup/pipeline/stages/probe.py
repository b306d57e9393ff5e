"""probe: base -> the linear probe (LP), the start of every fine-tune and itself a candidate."""

from typing import Any

from soup.evaluation.heldout import Result, scored
from soup.models import open_model
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.train.linear_probe import probe


def run(project: Project) -> dict[str, Any]:
    """Train a linear head on features computed once, and score it on held-out.

    Without iterations the base's own head is scored, and no training image is looked at.
    """
    writes = project.params.base.head == "text"
    if writes:
        project.say("the model writes labels and has no head to train: it answers as it is")
    if writes or project.params.probe.max_iterations == 0:
        return _facts(_as_it_is(project))
    result = probe(
        project.params.probe.penalty,
        project.params.probe.max_iterations,
        start=project.out / "base",
        development=project.development,
        store=project.image_store(),
        target=project.out / "probe",
        device=project.device(),
        batch_size=project.params.compute.eval_batch_size,
    )
    return _facts(result)


def _as_it_is(project: Project) -> Result:
    architecture, model = open_model(project.out / "base")
    heldout = heldout_of(project, architecture)
    size = project.params.compute.eval_batch_size
    model.to(project.device())
    return scored(model, heldout, architecture, project.out / "probe", size)


def _facts(result: Result) -> dict[str, Any]:
    return {
        **result.facts(),
        "summary": f"{result.score:.2%} held-out",
    }
