"""A point in the space of weights, as a linear combination of a sweep's models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Weights sum_i c_i theta_i.

    Attributes:
        terms: pairs of a model's name and its coefficient, which is not 0, in the order of names.
    """

    terms: tuple[tuple[str, float], ...]

    @property
    def model(self) -> str | None:
        """The name of the model that the point is; None for a combination."""
        return self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 else None


def combination(coefficients: Mapping[str, float]) -> Point:
    """The point of these coefficients, by name of the model; zeros are left out.

    Raises:
        ValueError: all are zero.
    """
    terms = tuple(sorted((name, float(c)) for name, c in coefficients.items() if c))
    if not terms:
        raise ValueError("a point needs a model")
    return Point(terms)


def only(name: str) -> Point:
    """The point that a model is."""
    return Point(((name, 1.0),))


def mean(names: Iterable[str]) -> Point:
    """The average of models; one that is named twice counts twice."""
    listed = [*names]
    coefficients = dict.fromkeys(listed, 0.0)
    for name in listed:
        coefficients[name] += 1 / len(listed)
    return combination(coefficients)


def between(start: Point, end: Point, t: float) -> Point:
    """(1 - t) * start + t * end."""
    first, last = dict(start.terms), dict(end.terms)
    names = {**first, **last}
    return combination({n: (1 - t) * first.get(n, 0.0) + t * last.get(n, 0.0) for n in names})
