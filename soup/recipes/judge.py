"""The interface through which a recipe evaluates a candidate, ignorant of model and data."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from soup.weights import Weights


@runtime_checkable
class Judge(Protocol):
    """A function that returns the number of held-out examples that a model classifies wrongly.

    Any other cost to minimise will do. A judge may stop as soon as the errors exceed `at_most`, and
    then returns None; with `at_most=None` it evaluates every example. `at_most` is `Any` so that a
    judge may declare it an integer or a float.
    """

    def __call__(self, weights: Weights, at_most: Any = None) -> float | None: ...


def to_beat(errors: float | None) -> float | None:
    """Return the errors that a candidate is compared with.

    None if there are none, or NaN: a soup without a cost loses to any that has one.
    """
    return None if errors is None or math.isnan(errors) else errors


@runtime_checkable
class Recalibrating(Protocol):
    """A judge that recomputes BatchNorm statistics, and so judges other weights than it is given.

    Calling it is judging, as in `Judge`.
    """

    def recalibrated(self, weights: Weights) -> Weights:
        """Return the weights whose errors a call with `weights` counts."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A judge that visits first what a candidate probably gets wrong, if it is told what that is.

    It decides nothing by that.
    """

    def foresee(self, names: Sequence[str]) -> None:
        """Take note that the next weights are the mean of these ingredients; may be repeated."""
        ...


def foresee(judge: Judge, names: Sequence[str]) -> None:
    """Tell a judge of which ingredients the next weights are the mean, if it wants to know."""
    if isinstance(judge, Foreseeing):
        judge.foresee(names)


def as_judged(weights: Weights, judge: Judge) -> Weights:
    """Return the weights whose errors `judge(weights)` counts: mostly these weights themselves."""
    return judge.recalibrated(weights) if isinstance(judge, Recalibrating) else weights
