"""Heads: which tensors they are, and whether two of them know the classes in the same order."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from soup.weights import Spec

NAMES = frozenset({"head", "heads", "fc", "classifier", "classification_head", "last_linear"})
# Beyond so many rows to match, matching takes minutes.
MOST = 2000


def guess_head(specs: Mapping[str, Spec]) -> list[str]:
    """The classifier's weight and bias, by their names; nothing if no name tells.

    The last 2-d tensor, in the natural order of the names ("classifier.10" after "classifier.6"),
    that stands at most one level deep in something called head, fc, classifier and the like.
    """
    matrices = [
        name
        for name, spec in specs.items()
        if len(spec.shape) == 2 and not NAMES.isdisjoint(name.split(".")[:-1][:2])
    ]
    if not matrices:
        return []
    weight = max(matrices, key=_natural)
    bias = weight.removesuffix("weight") + "bias"
    rows = specs[weight].shape[:1]
    return [weight] + ([bias] if bias in specs and specs[bias].shape == rows else [])


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


class Matching(NamedTuple):
    """How the rows of one head fit those of another.

    Attributes:
        moved: rows of the first that fit other rows of the second better than those in their
            place; empty if the classes stand in the same order, as far as one can tell.
        to: the rows of the second that they fit.
        in_place: mean cosine of the moved rows with those at their place.
        matched: mean cosine of the moved rows with those that they fit.
    """

    moved: Sequence[int]
    to: Sequence[int]
    in_place: float
    matched: float


def matching(first: NDArray[np.float64], second: NDArray[np.float64]) -> Matching:
    """Whether another order of the second head's rows fits the first better.

    Rows are compared by their cosine, less the mean row, and matched one to one (the Hungarian
    method) where the row in place has a cosine under 1/2. Among C rows of chance some always fit:
    an order counts if it raises the moved rows' cosines by more than three standard deviations of
    a cosine of random rows, 3 / sqrt(features), and by more than the best of C of the cosines that
    this pair of heads has elsewhere, sqrt(2 ln C) of their standard deviations.

    Of twenty classes shuffled between two fine-tunes, it finds all twenty where both trained the
    head to the end, in an MLP; in a net whose heads started fresh their rows still were noise
    (cosine 0.1 between equal classes), and it rightly says nothing.

    Args:
        first, second: (classes, features).
    """
    classes, features = first.shape
    one, other = _directions(first), _directions(second)
    loose = np.flatnonzero(~((one * other).sum(axis=1) >= 0.5))
    none = Matching((), (), math.nan, math.nan)
    if len(loose) > MOST:
        return none
    cosines = one[loose] @ other.T
    if not np.isfinite(cosines).all():
        return none
    rows = np.arange(len(loose))
    to = loose[linear_sum_assignment(-cosines[:, loose])[1]]
    moved = loose != to
    if not moved.any():
        return none
    others = np.ones_like(cosines, dtype=bool)
    others[rows, loose] = others[rows, to] = False
    spread = cosines[others].std() if others.any() else 0.0
    matched = float(cosines[rows, to][moved].mean())
    in_place = float(cosines[rows, loose][moved].mean())
    chance = max(3 / math.sqrt(features), math.sqrt(2 * math.log(classes)) * spread)
    if matched - max(in_place, 0.0) <= chance:
        return none
    return Matching(loose[moved].tolist(), to[moved].tolist(), in_place, matched)


def _directions(head: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = head - head.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
