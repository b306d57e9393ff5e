"""The protocol of a split: what counts as an answer to it, and what is cut off its images.

`prepare` writes one for each split that is not judged in the plain way, which is: an image has one
class of train, and is answered among the classes that the split has.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soup.data.errors import DataError
from soup.files import write_json

SEPARATOR = "|"
REAL = "real"  # the test images under their ReaL labels


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a split is judged.

    Attributes:
        answers: answer -> train's classes that mean it, of which the largest logit is the answer's.
            Empty: the classes that the split has.
        border: pixels cut off each side of an image before it is resized.
        of: the split whose images these are, so that answers to them are not made twice; '': own.
    """

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    border: int = 0
    of: str = ""


def join_labels(classes: tuple[str, ...]) -> str:
    """The label of an image that is right with any of several classes."""
    return SEPARATOR.join(classes)


def labels(label: str, answers: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The answers that a manifest's label calls right: itself, or several, join_labels."""
    return (label,) if label in answers else tuple(label.split(SEPARATOR))


def save(protocols: Mapping[str, EvaluationProtocol], path: Path) -> None:
    """Write those that differ from the plain one, as JSON."""
    plain = EvaluationProtocol()
    write_json(
        path,
        {
            split: {
                "answers": {name: list(classes) for name, classes in one.answers.items()},
                "border": one.border,
                "of": one.of,
            }
            for split, one in protocols.items()
            if one != plain
        },
    )


def load(path: Path) -> dict[str, EvaluationProtocol]:
    """Read what `save` wrote.

    Raises:
        DataError: it is missing or is something else.
    """
    try:
        return {
            split: EvaluationProtocol(
                {name: tuple(classes) for name, classes in one["answers"].items()},
                int(one["border"]),
                str(one["of"]),
            )
            for split, one in json.loads(path.read_text()).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no protocols: {error!r}; run prepare") from None
