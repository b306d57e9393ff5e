"""prepare: raw images or texts -> the split manifests."""

from typing import Any

from soup.data.errors import DataError
from soup.data.hub.download import fetch
from soup.data.hub.record import lineage
from soup.data.shifts.protocol import save
from soup.data.split import prepare as images_of
from soup.data.split.prepare import counts
from soup.data.text import prepare as texts_of
from soup.files import write_text
from soup.pipeline.project import Project

SHOWN = 20


def run(project: Project) -> dict[str, Any]:
    """Check the examples and split them: train and held-out; test and shifts apart from these.

    The embedded image set is drawn first, where the parameters ask for it and it is not there.

    Raises:
        DataError: see `soup.data.split.prepare.prepare`, `soup.data.text.prepare.prepare_texts`.
    """
    data, root = project.params.data, project.images
    if data.shapes is not None:
        from soup.pipeline.demo.pretrain import draw

        shifts = {shift.folder for shift in data.shifts.values()}
        draw(data.shapes, root, shifts, project.say, project.track)
    if data.text is None:
        with project.track("checking images") as advance:
            prepared = images_of.prepare(data, root, advance=lambda: advance(1))
    else:
        if data.hub is not None:
            fetch(data.hub, root, texts_of.splits_of_hub(data), project.say)
        with project.track("reading texts") as advance:
            prepared = texts_of.prepare_texts(data, root, advance=lambda: advance(1))
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
        **lineage(root, data.hub),
        "listing": _listing(project),
        "images": images,
        "shifts": [*prepared.notes],
        "skipped": [[p.path, p.reason] for p in prepared.problems],
        "summary": ", ".join(f"{name} {count}" for name, count in images.items()) + skipped,
    }


def unchanged(project: Project, record: dict[str, Any]) -> bool:
    """Whether the image files are those that the record was made from."""
    try:
        return bool(record["listing"] == _listing(project))
    except DataError:
        return False


def _listing(project: Project) -> str:
    """A digest of the files that the data are read from."""
    data, root = project.params.data, project.images
    return (images_of if data.text is None else texts_of).listing(data, root)
