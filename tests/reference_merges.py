"""Merges of weights by formula, transcribed literally and slowly: what the recipes must equal."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tests.reference import average

Model = dict[str, Tensor]


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
