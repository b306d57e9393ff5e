"""The promotion gate of versions that were chosen by a score of answers (Matthews, F1).

The challenger must have the higher score on the same held-out examples. The paired permutation test
of the score is told, and decides only where a largest p is asked for, as in `promotion_gate`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Never

import numpy as np

from soup.evaluation.count_tests import Answers, compare, value
from soup.evaluation.promotion_gate import Decision, Scored, decide, finding, other_classes
from soup.evaluation.score_text import ACCURACY
from soup.evaluation.scores import ConfusionScore, task_score

RESAMPLES = 100  # of the interval that `compare` gives beside p, which is not told here


def decide_by_score(
    name: str,
    score: ConfusionScore,
    challenger: Scored,
    champion: Scored | None,
    rescore: Callable[[], Answers | None],
    largest_p: float = 1.0,
) -> Decision:
    """Compare two versions by a score of their answers to the challenger's held-out examples.

    Args:
        name: of the score.
        score: of the answers to all examples.
        rescore: computes the champion's answers, with the challenger's labels and order of
            classes; called if the champion's answers are unknown, or to other examples. None: the
            champion has other classes.
        largest_p: the largest p of the paired permutation test at which the champion is replaced.

    The other arguments, and what is raised, are those of `decide`.
    """
    decided = _without_figures(challenger, champion)
    if decided is not None or champion is None:
        return decided or Decision(True, "the first champion")
    if challenger.answers is None:
        raise ValueError(f"version {challenger.number} has no held-out answers")
    ours = challenger.answers
    theirs = champion.answers if champion.split == challenger.split else None
    if theirs is None or not np.array_equal(theirs.labels, ours.labels):
        theirs = rescore()
    if theirs is None:
        return other_classes(champion.number)
    classes = 1 + max(1, *(int(part.max(initial=0)) for part in (*ours, *theirs)))
    own, other = (value(score, [answers], classes) for answers in (ours, theirs))
    figures = [
        "unknown" if math.isnan(figure) else f"{100 * figure:.2f}" for figure in (own, other)
    ]
    comparison = (
        f"held-out {name} (times 100) of {' against '.join(figures)} of champion "
        f"{champion.number}, on {len(ours.labels)}"
    )
    if math.isnan(own) or math.isnan(other):
        return Decision(False, f"{comparison}: promote it by hand if meant")
    p = compare(score, [ours], [theirs], classes, RESAMPLES, 0.95, seed=0).p_value
    comparison += f" (p = {p:.2g}, permutation test)"
    return finding(own > other, comparison, p, largest_p)


def decide_from_tags(
    tags: Mapping[str, str],
    challenger: Scored,
    champion: Scored | None,
    unknown: Callable[[], Never],
    largest_p: float = 1.0,
) -> Decision:
    """Compare two versions by what their tags say alone, by the challenger's score.

    Args:
        tags: of the challenger.
        unknown: raises; called if the tags do not have the answers of both to the same examples.

    The other arguments are those of `decide`.

    Raises:
        ValueError: the tags name a score that does not exist.
    """
    decided = _without_figures(challenger, champion)
    if decided is not None or champion is None:
        return decided or Decision(True, "the first champion")
    name, score = score_of(tags)
    if (challenger.correct if score is None else challenger.answers) is None:
        unknown()
    if score is None:
        return decide(challenger, champion, unknown, largest_p)
    return decide_by_score(name, score, challenger, champion, unknown, largest_p)


def _without_figures(challenger: Scored, champion: Scored | None) -> Decision | None:
    """The decision that needs no figures; None if there is none."""
    if champion is not None and champion.number == challenger.number:
        return Decision(False, f"version {champion.number} is the champion already")
    if challenger.rolled_back:
        return Decision(False, f"{challenger.rolled_back}: promote it by hand if meant")
    return None


def score_of(tags: Mapping[str, str]) -> tuple[str, ConfusionScore | None]:
    """The name of the score that a version was chosen by, and the score; None for accuracy.

    Raises:
        ValueError: the tags name no score.
    """
    name, positive = tags.get("score", ACCURACY), tags.get("positive", "1")
    try:
        score = task_score(name, int(positive))
    except (KeyError, ValueError):
        raise ValueError(f"the tag 'score' or 'positive' is damaged: {name}, {positive}") from None
    if score is not None and not isinstance(score, ConfusionScore):
        raise ValueError(f"{name} is no score of answers")
    return name, score
