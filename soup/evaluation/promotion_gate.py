"""The promotion gate: when a registered version replaces the champion.

Both versions are scored on the same held-out images, and the challenger must make fewer errors. By
default the exact McNemar test is reported but does not decide: a soup often beats its champion by a
small margin, so that a gate of p < 0.05 on some thousand held-out images would reject nearly every
soup, while a version that is promoted by chance is at least not known to be worse. Whoever wants
evidence sets the largest p.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from soup.evaluation.answers_tag import unpacked_answers
from soup.evaluation.count_tests import Answers
from soup.evaluation.metrics import Correct, mcnemar
from soup.evaluation.number_scores import MEASURE, NUMBER_SCORES, Numbers, compare, value

# Most examples whose results fit into a tag of MLflow's registry, which takes 100,000 characters.
MOST = 8 * 74_000
NOISE = 0.05  # p from which a difference is called noise, as on the report page


@dataclass(frozen=True)
class Scored:
    """A registered version and its held-out result.

    Attributes:
        number: of the version.
        split: digest of the split whose held-out images the version was scored on.
        correct: which of them it classifies correctly, in the order of the split; None if unknown.
        rolled_back: who rolled the version back and why, if that was its latest change; else ''.
        numbers: what it predicts for them, if it predicts numbers.
        answers: the labels of these examples and the version's answers; None if unknown.
    """

    number: str
    split: str
    correct: Correct | None
    rolled_back: str = ""
    numbers: Numbers | None = None
    answers: Answers | None = None


@dataclass(frozen=True)
class Decision:
    """Whether to promote the challenger, and the reason with its figures.

    Attributes:
        p: of the exact McNemar test against the champion, or of the permutation test of predicted
            numbers; None if there was no test.
    """

    promote: bool
    reason: str
    p: float | None = field(default=None, compare=False)


def decide(
    challenger: Scored,
    champion: Scored | None,
    rescore: Callable[[], Correct | Numbers | None],
    largest_p: float = 1.0,
    measure: str = MEASURE,
) -> Decision:
    """Compare two versions by errors on the challenger's held-out images, or by predicted numbers.

    Args:
        challenger: the version that may be promoted.
        champion: the current champion; None if there is none.
        rescore: computes which of the challenger's held-out images the champion classifies
            correctly, or the numbers that it predicts; called if the champion was scored on other
            images. None: the champion has other classes.
        largest_p: the largest p of the test at which the champion is replaced.
        measure: of predicted numbers, the score that the challenger was chosen by.

    Raises:
        ValueError: the challenger has no held-out result.
    """
    if champion is not None and champion.number == challenger.number:
        return Decision(False, f"version {champion.number} is the champion already")
    if challenger.rolled_back:
        return Decision(False, f"{challenger.rolled_back}: promote it by hand if meant")
    if champion is None:
        return Decision(True, "the first champion")
    if challenger.numbers is not None:
        return _by_numbers(challenger.numbers, champion.number, rescore(), largest_p, measure)
    if challenger.correct is None:
        raise ValueError(f"version {challenger.number} has no held-out answers")
    theirs = champion.correct if champion.split == challenger.split else None
    if theirs is None or len(theirs) != len(challenger.correct):  # other images, or damaged tags
        again = rescore()
        theirs = None if isinstance(again, Numbers) else again
    if theirs is None:
        return other_classes(champion.number)
    ours, fewer = challenger.correct, bool(challenger.correct.sum() > theirs.sum())
    p = mcnemar(ours, theirs)
    comparison = (
        f"{int((~ours).sum())} held-out errors against {int((~theirs).sum())} of champion "
        f"{champion.number}, of {len(ours)} (right alone: {int((ours & ~theirs).sum())} against "
        f"{int((theirs & ~ours).sum())}; p = {p:.2g}, exact McNemar)"
    )
    return finding(fewer, comparison, p, largest_p)


def finding(better: bool, comparison: str, p: float, largest_p: float) -> Decision:
    """The decision after a paired test."""
    if better and p > largest_p:
        comparison += f": p is above the largest allowed, {largest_p:g}"
    elif better and p >= NOISE:
        comparison += ", within noise"
    return Decision(better and p <= largest_p, comparison, p)


def other_classes(champion: str) -> Decision:
    """The decision where the champion cannot answer."""
    reason = f"champion {champion} knows other classes: promote it by hand if meant"
    return Decision(False, reason)


def _by_numbers(
    ours: Numbers,
    champion: str,
    theirs: Correct | Numbers | None,
    largest_p: float,
    measure: str,
) -> Decision:
    """The challenger must have the higher score; the test is a permutation test."""
    if not isinstance(theirs, Numbers):
        return other_classes(champion)
    score = NUMBER_SCORES[measure]
    made = compare(score, [ours], [theirs], resamples=1, confidence=0.95, seed=0)
    higher = made.difference > 0
    comparison = (
        f"held-out {measure} {value(score, [ours]):.4f} against {value(score, [theirs]):.4f} of "
        f"champion {champion}, of {len(ours.labels)} (p = {made.p_value:.2g}, permutation test)"
    )
    return finding(higher, comparison, made.p_value, largest_p)


def scored(number: str, tags: Mapping[str, str], rolled_back: str = "") -> Scored:
    """A version from its tags in the registry."""
    correct = unpacked(tags.get("correct", ""))
    answers = unpacked_answers(tags.get("answers", ""))
    return Scored(number, tags.get("split", ""), correct, rolled_back, answers=answers)


def packed(correct: Correct) -> str:
    """Which examples are correct, as the text of a tag: 'COUNT:BITS in base64'.

    Returns '' if there are more examples than a tag can hold.
    """
    if len(correct) > MOST:
        return ""
    return f"{len(correct)}:{base64.b64encode(np.packbits(correct).tobytes()).decode()}"


def unpacked(text: str) -> Correct | None:
    """Which examples are correct, from the text of a tag; None if it is absent or damaged."""
    count, _, bits = text.partition(":")
    try:
        examples = int(count)
        raw = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    except ValueError:
        return None
    if examples < 1 or len(raw) != (examples + 7) // 8:
        return None
    return np.unpackbits(raw, count=examples).astype(np.bool_)
