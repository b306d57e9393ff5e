"""The evaluation protocol of a split: its possible answers, and how its images are cropped.

By default an image has one of train's classes, and the model chooses among the classes that occur
in the split. `prepare` writes a protocol for each split that is judged in another way.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from soup.data.errors import DataError
from soup.files import write_json

SEPARATOR = "|"
REAL = "real"  # the test images under their ReaL labels


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a split is judged.

    Attributes:
        answers: answer -> train's classes that mean it; the answer's logit is the largest of
            theirs. Empty: the answers are the classes that occur in the split.
        border: pixels cut off each side of an image before it is resized.
        of: the split whose images this split shares, so that the logits are not computed twice;
            '' if the split has images of its own.
    """

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    border: int = 0
    of: str = ""


def join_labels(classes: tuple[str, ...]) -> str:
    """The label of an image for which each of several classes is right."""
    return SEPARATOR.join(classes)


def labels(label: str, answers: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The right answers of a label in a manifest: one, or several that `join_labels` joined."""
    return (label,) if label in answers else tuple(label.split(SEPARATOR))


def save(protocols: Mapping[str, EvaluationProtocol], path: Path) -> None:
    """Write the protocols that differ from the default one, as JSON."""
    default = EvaluationProtocol()
    write_json(path, {split: asdict(p) for split, p in protocols.items() if p != default})


def load(path: Path) -> dict[str, EvaluationProtocol]:
    """Read what `save` wrote.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        return TypeAdapter(dict[str, EvaluationProtocol]).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} holds no protocols; run prepare: {reason}") from None
