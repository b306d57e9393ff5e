"""The paper, transcribed literally and slowly: what the package must be equal to.

Nothing of the package is used here, nothing is cached, and every quantity is computed anew from its
definition. Models are dictionaries of tensors; sums are Python's floats. Merges that are no soups:
reference_merges.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Model = dict[str, Tensor]


class Candidate(NamedTuple):
    name: str
    model: Model
    accuracy: float


class Tried(NamedTuple):
    name: str
    accuracy: float
    kept: bool


def average(models: Sequence[Model]) -> Model:
    """theta_S = 1/|S| sum_i theta_i, number by number; counters are the first model's."""
    result = {}
    for name, first in models[0].items():
        if not first.is_floating_point():
            result[name] = first
            continue
        columns = zip(*(model[name].double().flatten().tolist() for model in models), strict=True)
        means = [sum(column) / len(models) for column in columns]
        result[name] = torch.tensor(means, dtype=torch.float64).view(first.shape).to(first.dtype)
    return result


def greedy_soup(
    candidates: Sequence[Candidate], accuracy: Callable[[Model], float], strictly: bool = False
) -> tuple[list[str], Model, list[Tried]]:
    """Recipe 1: who is in the soup, its weights, and what the soup's accuracy was with each.

    ingredients <- {}
    for i = 1 to k, in decreasing order of held-out accuracy:
        if acc(average(ingredients + theta_i)) >= acc(average(ingredients)):
            ingredients <- ingredients + theta_i
    """
    ingredients: list[Candidate] = []
    tried = []
    for candidate in best_first([c for c in candidates if not math.isnan(c.accuracy)]):
        if not ingredients:
            ingredients = [candidate]
            tried.append(Tried(candidate.name, candidate.accuracy, True))
            continue
        without = accuracy(average([c.model for c in ingredients]))
        together = accuracy(average([c.model for c in [*ingredients, candidate]]))
        kept = together > without if strictly else together >= without
        if kept:
            ingredients = [*ingredients, candidate]
        tried.append(Tried(candidate.name, together, kept))
    return [c.name for c in ingredients], average([c.model for c in ingredients]), tried


def greedy_ensemble(logits: Sequence[np.ndarray], labels: np.ndarray) -> list[int]:
    """Recipe 1 over averages of raw logits: the indices kept."""

    def accuracy(members: Sequence[int]) -> float:
        right = 0
        for example, label in enumerate(labels):
            means = [
                sum(logits[m][example][k] for m in members) / len(members)
                for k in range(logits[0].shape[1])
            ]
            right += means.index(max(means)) == label
        return right / len(labels)

    names = [str(i) for i in range(len(logits))]
    order = best_first([Candidate(n, {}, accuracy([int(n)])) for n in names])
    kept: list[int] = []
    for index in (int(c.name) for c in order):
        if not kept or accuracy([*kept, index]) >= accuracy(kept):
            kept.append(index)
    return kept


def best_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By decreasing accuracy: take the best that is left, of equals the first given."""
    left, order = list(candidates), []
    while left:
        best = left[0]
        for candidate in left:
            if candidate.accuracy > best.accuracy:
                best = candidate
        order.append(best)
        left = [candidate for candidate in left if candidate is not best]
    return order


def equal_mass_ece(logits: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """sum_b |B_b|/n * |acc(B_b) - conf(B_b)|; the first n mod b bins hold one example more."""
    examples = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        exps = [math.exp(x) for x in row]
        examples.append((max(exps) / math.fsum(exps), row.index(max(row)) == label))
    examples.sort(key=lambda example: example[0])
    n, start, total = len(examples), 0, 0.0
    for b in range(bins):
        size = n // bins + (b < n % bins)
        part = examples[start : start + size]
        start += size
        if part:
            confidence = math.fsum(c for c, _ in part) / size
            accuracy = sum(right for _, right in part) / size
            total += size / n * abs(accuracy - confidence)
    return total


def mcnemar(only_a: int, only_b: int) -> float:
    """P(a split of the discordant examples no more likely than this one), each a fair coin."""
    n = only_a + only_b
    ways = [math.comb(n, k) for k in range(n + 1)]
    return sum(w for w in ways if w <= ways[only_a]) / 2**n


# --- recipes ---------------------------------------------------------------------------------


def pruned_soup(
    candidates: Sequence[Candidate], accuracy: Callable[[Model], float]
) -> tuple[list[str], Model, list[Tried]]:
    """All; from the worst on, who can go with the accuracy no lower, goes; but not the last."""
    soup = best_first([c for c in candidates if not math.isnan(c.accuracy)])
    tried = []
    for candidate in soup[::-1]:
        without = [c for c in soup if c is not candidate]
        if not without:
            break
        score = accuracy(average([c.model for c in without]))
        goes = score >= accuracy(average([c.model for c in soup]))
        tried.append(Tried(candidate.name, score, not goes))
        if goes:
            soup = without
    return [c.name for c in soup], average([c.model for c in soup]), tried


def soup_with_removal(
    candidates: Sequence[Candidate], accuracy: Callable[[Model], float]
) -> tuple[list[str], Model]:
    """Recipe 1; after each acceptance, while the soup is better without one of the earlier members,
    the one without whom it is best goes, of equals the first."""

    def score(members: Sequence[Candidate]) -> float:
        return accuracy(average([c.model for c in members]))

    best, *rest = best_first([c for c in candidates if not math.isnan(c.accuracy)])
    soup = [best]
    for candidate in rest:
        if score([*soup, candidate]) < score(soup):
            continue
        soup = [*soup, candidate]
        while True:
            smaller = [[c for c in soup if c is not gone] for gone in soup[:-1]]
            if not smaller or max(map(score, smaller)) <= score(soup):
                break
            soup = max(smaller, key=score)
    return [c.name for c in soup], average([c.model for c in soup])


def soup_with_repetition(
    candidates: Sequence[Candidate], accuracy: Callable[[Model], float]
) -> tuple[list[str], Model]:
    """From the best single model, while an addition helps: the one that helps most, repeats too."""

    def score(members: Sequence[Candidate]) -> float:
        return accuracy(average([c.model for c in members]))

    library = best_first([c for c in candidates if not math.isnan(c.accuracy)])
    soup = [library[0]]
    while True:
        larger = max(([*soup, c] for c in library), key=score)
        if score(larger) <= score(soup):
            return [c.name for c in soup], average([c.model for c in soup])
        soup = larger
