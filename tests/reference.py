"""The paper, transcribed literally and slowly: what the package must be equal to.

Nothing of the package is used here, nothing is cached, and every quantity is computed anew from its
definition. Models are dictionaries of tensors; sums are Python's floats.
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


def numberwise(models: Sequence[Model], function: Callable[..., float]) -> Model:
    """Each floating-point number by a function of that number in each model; else the first's."""
    result = {}
    for name, first in models[0].items():
        if not first.is_floating_point():
            result[name] = first
            continue
        columns = zip(*(model[name].double().flatten().tolist() for model in models), strict=True)
        values = [function(*column) for column in columns]
        result[name] = torch.tensor(values, dtype=torch.float64).view(first.shape).to(first.dtype)
    return result


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


def interpolated(models: Sequence[Model], base: Model, share: float) -> Model:
    """(1 - a) theta_0 + a mean(theta_i): WiSE-FT, and task arithmetic for any share."""

    def point(*numbers: float) -> float:
        *tuned, start = numbers
        return (1 - share) * start + share * sum(tuned) / len(tuned)

    return numberwise([*models, base], point)


def model_stock(models: Sequence[Model], base: Model) -> Model:
    """Tensor by tensor: w = t w_avg + (1 - t) w_0, t = K cos / (1 + (K - 1) cos)."""
    result = {}
    for name, first in models[0].items():
        tensors = [{name: model[name]} for model in models]
        changes = (
            [
                [x - o for x, o in zip(numbers(model[name]), numbers(base[name]), strict=True)]
                for model in models
            ]
            if first.is_floating_point()
            else []
        )
        pairs = [cosine(changes[i], changes[j]) for i in range(len(changes)) for j in range(i)]
        cos = max(sum(pairs) / len(pairs), 0.0) if pairs else 1.0
        t = len(models) * cos / (1 + (len(models) - 1) * cos)
        result |= interpolated(tensors, {name: base[name]}, t)
    return result


def numbers(tensor: Tensor) -> list[float]:
    return tensor.double().flatten().tolist()


def cosine(u: Sequence[float], v: Sequence[float]) -> float:
    """Of the angle between u and v; 0 if one has no length."""
    lengths = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(y * y for y in v))
    return sum(x * y for x, y in zip(u, v, strict=True)) / lengths if lengths else 0.0


def fisher_merged(models: Sequence[Model], fishers: Sequence[Model], floor: float) -> Model:
    """sum_i F_i theta_i / sum_i F_i, each F_i at least the floor times the tensor's largest F."""
    result = {}
    for name, first in models[0].items():
        parts = [{name: model[name]} for model in models]
        if not first.is_floating_point() or name not in fishers[0]:
            result |= average(parts)
            continue
        every = [numbers(fisher[name]) for fisher in fishers]
        top = max((value for values in every for value in values), default=0.0)
        informations = [{name: torch.tensor(values, dtype=torch.float64)} for values in every]

        def weighed(*row: float, top: float = top) -> float:
            thetas, values = row[: len(models)], row[len(models) :]
            floored = [max(value, floor * top) if top else 1.0 for value in values]
            products = [f * theta for f, theta in zip(floored, thetas, strict=True)]
            return sum(products) / sum(floored)

        result |= numberwise([*parts, *informations], weighed)
    return result


def slerped(start: Model, end: Model, t: float, base: Model) -> Model:
    """base + (sin((1 - t) w) u + sin(t w) v) / sin w; the line where sin w < 1e-4."""
    result = {}
    for name, first in start.items():
        parts = [{name: model[name]} for model in (start, end, base)]
        if not first.is_floating_point():
            result[name] = first
            continue
        o = numbers(base[name])
        u = [x - y for x, y in zip(numbers(first), o, strict=True)]
        v = [x - y for x, y in zip(numbers(end[name]), o, strict=True)]
        w = math.acos(max(-1.0, min(1.0, cosine(u, v)))) if any(u) and any(v) else 0.0
        a, b = 1 - t, t
        if math.sin(w) >= 1e-4:
            a, b = math.sin((1 - t) * w) / math.sin(w), math.sin(t * w) / math.sin(w)
        result |= numberwise(parts, lambda x, y, o, a=a, b=b: o + a * (x - o) + b * (y - o))
    return result


def ties_merged(models: Sequence[Model], base: Model, density: float, scale: float) -> Model:
    """Trim each model's change to its largest share, elect signs, average what agrees."""
    floats = [name for name, tensor in distinct(models[0]).items() if tensor.is_floating_point()]
    least = []
    for model in models:
        sizes = [
            np.float32(abs(x - o))
            for name in floats
            for x, o in zip(numbers(model[name]), numbers(base[name]), strict=True)
        ]
        kept = max(round(density * len(sizes)), 1)
        least.append(sorted(sizes, reverse=True)[kept - 1] if sizes else np.float32(0))

    def merged(*row: float) -> float:
        *tuned, start = row
        changes = [
            x - start if np.float32(abs(x - start)) >= limit else 0.0
            for x, limit in zip(tuned, least, strict=True)
        ]
        sign = np.sign(sum(changes))
        agreeing = [change for change in changes if change != 0 and np.sign(change) == sign]
        return start + scale * sum(agreeing) / len(agreeing) if agreeing else start

    return numberwise([*models, base], merged)


def distinct(model: Model) -> Model:
    """Without the tensors that are another name for one before them."""
    first: dict[int, str] = {}
    for name, tensor in model.items():
        first.setdefault(id(tensor), name)
    return {name: model[name] for name in first.values()}


def dare_merged(
    models: Sequence[Model], base: Model, masks: Sequence[Model], drop: float, scale: float
) -> Model:
    """theta_0 + s * mean_i m_i (theta_i - theta_0) / (1 - p)."""

    def merged(*row: float) -> float:
        k = len(models)
        tuned, start, staying = row[:k], row[k], row[k + 1 :]
        moves = [m * (x - start) / (1 - drop) for x, m in zip(tuned, staying, strict=True)]
        return start + scale * sum(moves) / k

    return numberwise([*models, base, *masks], merged)
