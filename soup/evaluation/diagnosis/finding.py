"""A reason why averaging does not help, and how it is said."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from soup.errors import some


class Finding(NamedTuple):
    """A reason why averaging does not help.

    Attributes:
        kind: "broken", "unrelated", "order of classes", "barrier", "head", "learning rate",
            "weak", "twice", "noise" or "nothing".
        summary: a sentence with the numbers.
        evidence: the numbers, ready for JSON.
        remedy: what to do.
        strength: of the evidence, from 0 to 1, where it is certain.
    """

    kind: str
    summary: str
    evidence: Mapping[str, Any]
    remedy: str
    strength: float


def listed(sentences: Sequence[str]) -> str:
    """The first three sentences, and how many more there are."""
    return some(sentences, 3, "; ")
