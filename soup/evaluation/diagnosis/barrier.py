"""The costs of the models on the straight line between two models, and the barrier there.

Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020, define the
barrier as the highest rise of the cost above the two end models. Here the rise is measured from the
straight line between the two end costs, as in Entezari et al., ICLR 2022, so that the barrier
between two models of different quality is not hidden by the worse of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.recipes.judge import Judge
from soup.weights import Weights, lerp

POINTS = 11  # of a line that are judged, its ends among them


class Line(NamedTuple):
    """Costs along a line.

    Attributes:
        positions: (points,) from 0, the first model, to 1, the second model.
        costs: (points,) the cost at each position; lower is better.
    """

    positions: NDArray[np.float64]
    costs: NDArray[np.float64]

    @property
    def excess(self) -> NDArray[np.float64]:
        """(points,) each cost less the straight line between the two end costs."""
        straight = (1 - self.positions) * self.costs[0] + self.positions * self.costs[-1]
        return self.costs - straight

    @property
    def barrier(self) -> float:
        """The highest excess; 0 if the line nowhere rises above its ends."""
        return float(self.excess.max())


def line(start: Weights, end: Weights, judge: Judge, points: int = POINTS) -> Line:
    """Judge `points` models at equal steps from `start` to `end`, both included.

    Raises:
        ValueError: fewer than two points.
        Incompatible: names or shapes differ.
    """
    if points < 2:
        raise ValueError(f"a line needs 2 points or more, got {points}")
    positions = np.linspace(0, 1, points)
    return Line(positions, np.array([cost(lerp(start, end, float(t)), judge) for t in positions]))


def cost(weights: Weights, judge: Judge) -> float:
    """The cost of weights, from a call of the judge without a bound.

    Raises:
        ValueError: the judge returned None, which a judge may only do when it is given a bound.
    """
    judged = judge(weights)
    if judged is None:
        raise ValueError(f"{judge!r} gave no cost although it was given no bound")
    return float(judged)
