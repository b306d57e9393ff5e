"""Draw the hyperparameters of each fine-tune from the search space, and pick runs to stop early.

Run i depends on (seed, i) and the space alone, so that a larger K adds runs and changes none. Each
dimension has a random generator of its own, so that a new dimension leaves the others' values.
"""

import itertools
import math
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from soup.config.named_spaces import method_of
from soup.config.params import Sweep
from soup.config.search_space import Epochs, RandAugment, Range, Space
from soup.config.validation import ParamsError
from soup.evaluation.score_text import ACCURACY, score_text
from soup.train.hyperparameters import Hyperparameters


def sample(sweep: Sweep) -> list[Hyperparameters]:
    """The hyperparameters of the first `sweep.runs` fine-tunes: points of the search space, with
    the settings that all fine-tunes share.

    Raises:
        ParamsError: a grid has ranges, or fewer points than runs are asked for.
    """
    space = sweep.space
    if method_of(space, sweep.method) == "grid":
        points = _grid(space, sweep)
    else:
        points = [_draw(space, sweep.seed, index) for index in range(sweep.runs)]
    names = {field.name for field in fields(Hyperparameters)} & Sweep.model_fields.keys()
    shared = {name: getattr(sweep, name) for name in names} | {"ema": tuple(sweep.ema)}
    if sweep.swa:
        shared |= {"swa_start": sweep.swa.start, "swa_lr": sweep.swa.lr}
    return [Hyperparameters(**shared | point) for point in points]  # a point has its own seed


def runs_to_stop(
    scores: Mapping[str, float | BaseException],
    keep: float,
    share: float,
    score_name: str = ACCURACY,
) -> dict[str, str]:
    """Which runs successive halving stops at a rung, and why.

    Jamieson and Talwalkar, "Non-stochastic best arm identification", AISTATS 2016; with the share
    that goes on for their half. Equal scores go on together.

    Args:
        scores: on held-out; what failed, or is finished (infinity), is not compared.
        keep: share that goes on, at least one.
        share: of a run, where the rung is.
        score_name: name of the score.
    """
    known = {n: s for n, s in scores.items() if isinstance(s, float) and math.isfinite(s)}
    if not known:
        return {}
    enough = sorted(known.values(), reverse=True)[max(1, math.ceil(keep * len(known))) - 1]
    return {
        name: f"stopped after {share:.0%} of the run: {score_text(score_name, score)} held-out, "
        f"{score_text(score_name, enough)} needed to go on"
        for name, score in known.items()
        if score < enough
    }


def _dimensions(space: Space) -> dict[str, Any]:
    """What is drawn: without a batch size of its own, a run has the sweep's."""
    shared = {"like"} | ({"batch_size"} if space.batch_size is None else set())
    return {name: value for name, value in space if name not in shared}


def _draw(space: Space, seed: int, index: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, dimension in _dimensions(space).items():
        rng = np.random.default_rng([seed, index, zlib.crc32(name.encode())])
        values[name] = _value(dimension, rng)
    return values


def _value(dimension: Any, rng: np.random.Generator) -> Any:
    match dimension:
        case None:
            return int(rng.integers(2**31))
        case Range():
            return _within(dimension, rng)
        case Epochs():
            return int(rng.integers(dimension.min, dimension.max + 1))
        case RandAugment():
            if rng.random() < dimension.minimal:
                return "minimal"
            (low, high), (few, many) = dimension.magnitude, dimension.layers
            return f"rand-m{rng.integers(low, high + 1)}-n{rng.integers(few, many + 1)}"
    return dimension[rng.integers(len(dimension))]


def _within(dimension: Range, rng: np.random.Generator) -> float:
    if dimension.zero and rng.random() < dimension.zero:
        return 0.0
    low, high = dimension.min, dimension.max
    if dimension.scale == "linear":
        return float(rng.uniform(low, high))
    # exp(log(x)) may differ from x in the last digit, and so leave the range.
    return float(np.clip(np.exp(rng.uniform(np.log(low), np.log(high))), low, high))


def _grid(space: Space, sweep: Sweep) -> list[dict[str, Any]]:
    """The product of the choices, the last dimension turning fastest.

    Without choices of its own, the seed is that of run i.
    """
    dimensions = _dimensions(space)
    ranges = [n for n, value in dimensions.items() if not isinstance(value, list | None)]
    if ranges:
        raise ParamsError(f"a grid needs lists of choices, not ranges: {', '.join(ranges)}")
    choices = [[None] if value is None else value for value in dimensions.values()]
    points = list(itertools.product(*choices))
    if len(points) < sweep.runs:
        raise ParamsError(
            f"sweep.runs is {sweep.runs}, but the grid has {len(points)} points: "
            f"give more choices, or runs: {len(points)}"
        )
    chosen = [dict(zip(dimensions, point, strict=True)) for point in points[: sweep.runs]]
    if space.seed is None:
        for index, values in enumerate(chosen):
            values["seed"] = _draw(space, sweep.seed, index)["seed"]
    return chosen
