"""The straight line between two models: what averaging them has to cross.

Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020, call the
highest rise above the ends the barrier; measured here from the straight line between the ends'
costs, as Entezari et al., ICLR 2022, so that two models of different quality are judged fairly.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.recipes.judge import Judge
from soup.weights import Weights, lerp


class Line(NamedTuple):
    """Costs along a line.

    Attributes:
        places: from 0, the one model, to 1, the other.
        costs: there; lower is better.
    """

    places: NDArray[np.float64]
    costs: NDArray[np.float64]

    @property
    def excess(self) -> NDArray[np.float64]:
        """Cost above the straight line between the ends' costs."""
        return self.costs - (1 - self.places) * self.costs[0] - self.places * self.costs[-1]

    @property
    def barrier(self) -> float:
        """The highest excess; 0 if the line nowhere rises above its ends."""
        return float(self.excess.max())


def line(start: Weights, end: Weights, judge: Judge, points: int = 11) -> Line:
    """Judge `points` models from start to end, both included.

    Raises:
        ValueError: fewer than two points.
        Incompatible: names or shapes differ.
    """
    if points < 2:
        raise ValueError(f"a line needs 2 points or more, got {points}")
    places = np.linspace(0, 1, points)
    return Line(places, np.array([cost(lerp(start, end, float(t)), judge) for t in places]))


def cost(weights: Weights, judge: Judge) -> float:
    """What the judge says without a bound.

    Raises:
        ValueError: it says nothing, which it may only where there is a bound to exceed.
    """
    found = judge(weights)
    if found is None:
        raise ValueError(f"{judge!r} gave no cost although it was given no bound")
    return float(found)
