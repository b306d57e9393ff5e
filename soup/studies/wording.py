"""Numbers of studies in words, with their intervals and tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from soup.evaluation.metrics import Correct, bootstrap, mcnemar, permutation
from soup.report import formatting
from soup.report.formatting import percent
from soup.studies.bench import SHIFTS, Bench

__all__ = ["Difference", "difference", "percent", "place", "points"]
points = formatting.points


def place(split: str) -> str:
    """A split for a sentence that says "on ...": "shifts" -> "the mean of shifts"."""
    return f"the {formatting.split(split)}" if split == SHIFTS else formatting.split(split)


@dataclass(frozen=True)
class Difference:
    """The accuracy of one model less that of another on the same examples.

    Attributes:
        first, second: the two accuracies, fractions.
        low, high: the bootstrap interval of their difference.
        p: of the exact McNemar test; of several groups (shifts), of the permutation test.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def value(self) -> float:
        return self.first - self.second

    def sentence(self, split: str, name: str, other: str) -> str:
        """The accuracies of the two on a split, and whether they differ, without a full stop."""
        return (
            f"On {place(split)} {name} has {percent(self.first, 2)} % accuracy, {other} "
            f"{percent(self.second, 2)} % (difference {points(self.value)}, interval "
            f"{points(self.low)} to {points(self.high)}, p {_p(self.p)})"
        )


def difference(bench: Bench, first: Sequence[Correct], second: Sequence[Correct]) -> Difference:
    """Compare two models on a split, or on the mean of several.

    Args:
        first, second: which examples each classifies correctly, for each split.
    """
    resamples, confidence, seed = bench.resampling
    paired = [a.astype(float) - b.astype(float) for a, b in zip(first, second, strict=True)]
    low, high = bootstrap(paired, resamples, confidence, seed)
    p = mcnemar(first[0], second[0]) if len(first) == 1 else permutation(first, second, seed=seed)
    means = [sum(float(right.mean()) for right in of) / len(of) for of in (first, second)]
    return Difference(means[0], means[1], low, high, p)


def _p(p: float) -> str:
    text = formatting.probability(p)
    return text if text.startswith("<") else f"= {text}"
