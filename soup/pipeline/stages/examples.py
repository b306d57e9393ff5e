"""Test examples that the soup and the best single model answer differently, for the report.

The three that the soup alone answers rightly, and the three that the best single model alone does,
with the largest difference between the probabilities that both give to the right answer: a rule
that leaves nothing to choose. Only `evaluate` may see the test set, so the content is kept here.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from soup.data.errors import DataError
from soup.data.reading import image_file
from soup.data.split.manifest import Row
from soup.data.text.texts import open_texts
from soup.errors import presentable
from soup.evaluation.disagreements import Opinion, answer_name, mended
from soup.evaluation.targets import Targets
from soup.pipeline.project import Project

MOST = 3  # of each kind
CHARACTERS = 400  # of a text
SIDE = 160  # pixels, the longer side of a picture


def examples(
    project: Project, target: Targets, soup: Opinion, single: Opinion, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """The examples, as JSON: first those that the soup alone answers rightly.

    Args:
        target: of the test set.
        soup, single: the models' answers to the test set.
        classes: names of the classes, in the order of the logits' columns.

    Raises:
        DataError: a text is missing, or has changed since the split was made.
    """
    rows = project.manifest(project.evaluation).split("test")
    chosen: list[dict[str, Any]] = []
    for first, second, kind in ((soup, single, "mended"), (single, soup, "broken")):
        for index, _ in mended(first, second, MOST):
            answers = [answer_name(target, int(m.answers[index]), classes) for m in (soup, single)]
            chosen.append(
                {
                    "kind": kind,
                    **_content(project, rows[index]),
                    "label": presentable(rows[index].label),
                    "soup": presentable(answers[0]),
                    "single": presentable(answers[1]),
                    "soup_probability": round(float(soup.probability[index]), 4),
                    "single_probability": round(float(single.probability[index]), 4),
                }
            )
    return chosen


def _content(project: Project, row: Row) -> dict[str, str]:
    """The texts of an example, or a small picture as an address that holds it."""
    if project.params.data.text is not None:
        (text,) = open_texts(project.images, [row])
        return {"text": _short(text.text)} | ({"pair": _short(text.pair)} if text.pair else {})
    try:
        picture = image_file.image(project.images / row.path, row.content, project.limits)
    except DataError as error:  # its answers are known, whatever became of it
        return {"text": presentable(str(error))}
    return {"image": thumbnail(picture)}


def thumbnail(picture: Image.Image) -> str:
    """A small JPEG without any metadata, as a data URI."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _short(text: str) -> str:
    """A text on one line, without control characters, and not longer than CHARACTERS."""
    line = presentable(" ".join(text.split()))
    return line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 1].rstrip()}…"
