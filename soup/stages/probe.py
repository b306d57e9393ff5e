"""probe: base -> the linear probe (LP), the start of every fine-tune and itself a candidate."""

from typing import Any

from soup.project import Project
from soup.train.probe import probe


def run(project: Project) -> dict[str, Any]:
    """Train a linear head on features computed once, and score it on held-out."""
    result = probe(
        project.params.probe,
        start=project.out / "base",
        development=project.development,
        root=project.images,
        target=project.out / "probe",
        cache=project.cache / "images",
        device=project.device(),
        batch_size=project.params.compute.eval_batch_size,
        track=project.track,
    )
    return {
        "errors": result.errors,
        "examples": result.examples,
        "summary": f"{result.accuracy:.2%} held-out",
    }
