"""From a search space to run configurations: pure, seeded, and each run on its own.

Run i is a function of (seed, i) and the space, so that a larger K adds runs and changes none. Each
dimension draws from a generator of its own, so that a new dimension changes no other.

The paper's random search (its appendix on hyperparameters, and the released `hparam_info.json`)
draws learning rate and weight decay log-uniformly.
"""

import itertools
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from soup.params import Range, Space, Sweep


@dataclass(frozen=True)
class Configuration:
    """The hyperparameters of one fine-tune."""

    lr: float
    weight_decay: float
    epochs: int
    label_smoothing: float
    mixup: float
    augment: str
    seed: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def configurations(sweep: Sweep) -> list[Configuration]:
    """The first `sweep.runs` configurations.

    Raises:
        ValueError: a grid has fewer points than runs are asked for.
    """
    if sweep.method == "grid":
        return _grid(sweep)
    return [_draw(sweep.space, sweep.seed, index) for index in range(sweep.runs)]


def _draw(space: Space, seed: int, index: int) -> Configuration:
    values: dict[str, Any] = {}
    for name, dimension in space:
        rng = np.random.default_rng([seed, index, zlib.crc32(name.encode())])
        if dimension is None:
            values[name] = int(rng.integers(2**31))
        elif isinstance(dimension, Range):
            values[name] = _within(dimension, rng)
        else:
            values[name] = dimension[rng.integers(len(dimension))]
    return Configuration(**values)


def _within(dimension: Range, rng: np.random.Generator) -> float:
    low, high = dimension.min, dimension.max
    if dimension.scale == "linear":
        return float(rng.uniform(low, high))
    # exp(log(x)) may differ from x in the last digit, and so leave the range.
    return float(np.clip(np.exp(rng.uniform(np.log(low), np.log(high))), low, high))


def _grid(sweep: Sweep) -> list[Configuration]:
    """The product of the choices, the last dimension turning fastest.

    Without choices of its own, the seed is that of run i.
    """
    names = [name for name, _ in sweep.space]
    own_seed = sweep.space.seed is None
    choices = [[None] if value is None else value for _, value in sweep.space]
    points = list(itertools.product(*choices))
    if len(points) < sweep.runs:
        raise ValueError(
            f"sweep.runs is {sweep.runs}, but the grid has {len(points)} points: "
            f"give more choices, or runs: {len(points)}"
        )
    configurations = []
    for index, point in enumerate(points[: sweep.runs]):
        values: dict[str, Any] = dict(zip(names, point, strict=True))
        if own_seed:
            values["seed"] = _draw(sweep.space, sweep.seed, index).seed
        configurations.append(Configuration(**values))
    return configurations
