"""A reason why averaging does not help: the record of it, and the wording of a list of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from soup.errors import some


class Finding(NamedTuple):
    """A reason why averaging does not help.

    Attributes:
        kind: "broken", "unrelated", "order of classes", "barrier", "batchnorm", "head",
            "learning rate", "weak", "twice", "noise" or "nothing".
        summary: a sentence for the user, with the numbers.
        evidence: the numbers, as values that JSON can hold.
        remedy: what the user can do.
        strength: how strong the evidence is, from 0 to 1 (certain).
    """

    kind: str
    summary: str
    evidence: Mapping[str, Any]
    remedy: str
    strength: float


def findings(
    kind: str,
    sentences: Sequence[object],
    evidence: Mapping[str, Any],
    remedy: str,
    strength: float,
) -> list[Finding]:
    """One finding, with the first three sentences and how many more there are; none without any."""
    summary = some(sentences, 3, "; ")
    return [Finding(kind, summary, evidence, remedy, strength)] if sentences else []
