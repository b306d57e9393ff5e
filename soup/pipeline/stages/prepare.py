"""prepare: raw images -> the split manifests."""

from typing import Any

from soup.data.errors import DataError
from soup.data.shifts.protocol import save
from soup.data.split.prepare import counts, listing, prepare
from soup.files import write_text
from soup.pipeline.project import Project

SHOWN = 20


def run(project: Project) -> dict[str, Any]:
    """Check the images and split them: train and held-out; test and shifts apart from these.

    The embedded image set is drawn first, where the parameters ask for it and it is not there.

    Raises:
        DataError: see `soup.data.split.prepare.prepare`.
    """
    data, root = project.params.data, project.images
    if data.shapes is not None:
        from soup.pipeline.demo.pretrain import draw

        draw(data.shapes, root, project.say, project.track)
    with project.track("checking images") as advance:
        prepared = prepare(data, root, advance=lambda: advance(1))
    for problem in prepared.problems[:SHOWN]:
        project.say(f"skipped {problem.path}: {problem.reason}")
    if len(prepared.problems) > SHOWN:
        project.say(f"skipped {len(prepared.problems) - SHOWN} more")
    for warning in prepared.warnings:
        project.say(f"warning: {warning}")
    for note in prepared.notes:
        project.say(note)
    write_text(project.development, prepared.development.to_csv())
    write_text(project.evaluation, prepared.evaluation.to_csv())
    save(prepared.protocols, project.protocols)
    images = counts(prepared)
    count = sum(problem.image for problem in prepared.problems)
    skipped = f", {count} skipped" if count else ""
    return {
        "listing": listing(data, root),
        "images": images,
        "shifts": [*prepared.notes],
        "skipped": [[p.path, p.reason] for p in prepared.problems],
        "summary": ", ".join(f"{name} {count}" for name, count in images.items()) + skipped,
    }


def unchanged(project: Project, record: dict[str, Any]) -> bool:
    """Whether the image files are those that the record was made from."""
    try:
        return bool(record["listing"] == listing(project.params.data, project.images))
    except DataError:
        return False
