"""A soup with all that is known of its making."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.evaluation.metrics import Logits
from soup.pipeline.cooking.cost import Cost
from soup.recipes.ingredient import Trial
from soup.weights import Weights

COLUMNS = [
    "step", "name", "heldout_errors", "heldout_accuracy", "at_most", "kept", "examples_seen",
    "heldout_n",
]  # fmt: skip


@dataclass(frozen=True)
class SoupResult:
    """A soup, its held-out logits, and its trace as a table.

    Columns of the trace: step, name, heldout_errors (NaN where judging stopped early),
    heldout_accuracy, at_most, kept, examples_seen (those judged), heldout_n. With a score other
    than accuracy, `heldout_accuracy` is the score, and errors are (1 - score) * heldout_n.

    Attributes:
        weights: of the soup.
        kept: names of the ingredients in it, in the order of acceptance.
        errors: what a judge says of it: held-out errors, or 1 less the score.
        trace: the table.
        heldout: float (examples, classes).
        shares: of a learned soup, by group of tensors the share of each ingredient by name.
        batchnorm: what was done about BatchNorm statistics; '' where nothing was.
        recalibrated_on: images that the soup's BatchNorm statistics were recomputed on; 0 for none.
        cost: of making it.
    """

    weights: Weights
    kept: tuple[str, ...]
    errors: float
    trace: pd.DataFrame
    heldout: Logits
    shares: Mapping[str, Mapping[str, float]] | None
    batchnorm: str
    recalibrated_on: int
    cost: Cost


def better(
    averaged: SoupResult, recomputed: SoupResult, score_averaged: float, score_recomputed: float
) -> SoupResult:
    """The better of two soups on held-out, by how their BatchNorm statistics were made.

    Of equally good ones it is that with averaged statistics, which needs no training images. The
    cost is that of both.
    """
    best = recomputed if recomputed.errors < averaged.errors else averaged
    told = (
        f"BatchNorm statistics on held-out: averaged {score_averaged:.2%}, recomputed on "
        f"{recomputed.recalibrated_on} training images {score_recomputed:.2%}; the "
        f"{'recomputed' if best is recomputed else 'averaged'} are kept"
    )
    costs = averaged.cost, recomputed.cost
    cost = Cost(
        sum(cost.passes for cost in costs),
        round(sum(cost.seconds for cost in costs), 3),
        max(cost.memory for cost in costs),
    )
    return replace(best, batchnorm=told, cost=cost)


class Call(NamedTuple):
    """A candidate that was judged: its errors (None if they exceed `at_most`), the bound, and the
    number of examples seen."""

    errors: float | None
    at_most: float | None
    seen: int


class WatchedJudge:
    """A judge that keeps what it was asked.

    Attributes:
        calls: in their order.
        last: errors and held-out logits of the last candidate within its bound; None before.
    """

    def __init__(
        self, judge: ErrorJudge | ScoreJudge, count: Callable[[int], None] = lambda _: None
    ) -> None:
        """
        Args:
            count: called with the number of examples of each pass.
        """
        self._judge, self._count = judge, count
        self.calls: list[Call] = []
        self.last: tuple[float, Logits] | None = None

    def __call__(self, weights: Weights, at_most: float | None = None) -> float | None:
        errors = self._judge(weights, at_most)
        self.calls.append(Call(errors, at_most, self._judge.examples_seen[-1]))
        self._count(self.calls[-1].seen)
        if errors is not None and self._judge.logits is not None:
            self.last = errors, self._judge.logits
        return errors

    def foresee(self, names: Sequence[str]) -> None:
        """See `soup.recipes.judge.Foreseeing`."""
        self._judge.foresee(names)

    def recalibrated(self, weights: Weights) -> Weights:
        """See `soup.recipes.judge.Recalibrating`."""
        return self._judge.recalibrated(weights)


def trace_table(
    trials: Sequence[Trial],
    calls: Sequence[Call],
    examples: int,
    scale: float,
    score: Callable[[float], float],
) -> pd.DataFrame:
    """The trace of a soup as the table that `SoupResult` describes.

    Args:
        trials: of the soup.
        calls: of the judge, among them those of the trials, in their order.
        examples: held out.
        scale: errors for each unit of a judge's cost.
        score: a judge's cost -> accuracy, or another score.
    """
    start = 0
    rows = []
    for step, trial in enumerate(trials):
        seen = 0
        for index in range(start, len(calls)):
            if repr(calls[index][:2]) == repr((trial.errors, trial.at_most)):
                seen, start = calls[index].seen, index + 1
                break
        rows.append(
            {
                "step": step,
                "name": trial.name,
                "heldout_errors": math.nan if trial.errors is None else trial.errors * scale,
                "heldout_accuracy": math.nan if trial.errors is None else score(trial.errors),
                "at_most": math.nan if trial.at_most is None else trial.at_most * scale,
                "kept": trial.kept,
                "examples_seen": seen,
                "heldout_n": examples,
            }
        )
    trace = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["heldout_errors", "heldout_accuracy", "at_most"]
    trace[numbers] = trace[numbers].astype(float)
    return trace
