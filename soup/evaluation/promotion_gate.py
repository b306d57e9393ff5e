"""The champion gate: when a version may take the place of the champion.

Both answer the same held-out images, and the challenger must make fewer errors. How much of that
may be chance is said by the exact McNemar test; it does not decide. A soup is better than its
champion by little and often, so that a gate of p < 0.05 on a held-out set of some thousands would
keep nearly all of them out, and what is wrongly let in is at least not known to be worse.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from soup.evaluation.metrics import Correct, mcnemar

# Longer answers do not fit into a tag of MLflow's registry, which takes 100,000 characters.
MOST = 8 * 74_000


@dataclass(frozen=True)
class Scored:
    """A registered version by its held-out result.

    Attributes:
        number: of the version.
        split: digest of the split whose held-out images it answered.
        correct: which it got right, in the split's order; None if that is not known.
        rolled_back: who rolled it back and why, if that is the last that was done to it.
    """

    number: str
    split: str
    correct: Correct | None
    rolled_back: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and the figures."""

    promote: bool
    reason: str


def decide(
    challenger: Scored, champion: Scored | None, rescore: Callable[[], Correct | None]
) -> Decision:
    """Compare two versions by errors on the challenger's held-out images.

    Args:
        champion: the present one, if any.
        rescore: what the champion gets right of the challenger's held-out images, for when it is
            only known on others; None if it cannot answer for these classes.

    Raises:
        ValueError: the challenger's answers are not known.
    """
    if champion is not None and champion.number == challenger.number:
        return Decision(False, f"version {champion.number} is the champion already")
    if challenger.rolled_back:
        return Decision(False, f"{challenger.rolled_back}: promote it by hand if meant")
    if champion is None:
        return Decision(True, "the first champion")
    if challenger.correct is None:
        raise ValueError(f"version {challenger.number} has no held-out answers")
    same = champion.split == challenger.split and champion.correct is not None
    theirs = champion.correct if same else rescore()
    if theirs is None:
        return Decision(
            False,
            f"champion {champion.number} knows other classes: promote it by hand if meant",
        )
    ours = challenger.correct
    told = (
        f"{int((~ours).sum())} held-out errors against {int((~theirs).sum())} of champion "
        f"{champion.number}, of {len(ours)} (right alone: {int((ours & ~theirs).sum())} against "
        f"{int((theirs & ~ours).sum())}; p = {mcnemar(ours, theirs):.2g}, exact McNemar)"
    )
    return Decision(bool(ours.sum() > theirs.sum()), told)


def scored(number: str, tags: Mapping[str, str], rolled_back: str = "") -> Scored:
    """A version by what the registry knows of it."""
    correct = unpacked(tags.get("correct", ""))
    return Scored(number, tags.get("split", ""), correct, rolled_back)


def packed(correct: Correct) -> str:
    """Answers as text, 'COUNT:BITS in base64'; '' if there are more than a tag can hold."""
    if len(correct) > MOST:
        return ""
    return f"{len(correct)}:{base64.b64encode(np.packbits(correct).tobytes()).decode()}"


def unpacked(text: str) -> Correct | None:
    """The answers in a tag; None for one that is absent or damaged."""
    count, _, bits = text.partition(":")
    try:
        examples = int(count)
        raw = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    except ValueError:
        return None
    if examples < 1 or len(raw) != (examples + 7) // 8:
        return None
    return np.unpackbits(raw, count=examples).astype(np.bool_)
