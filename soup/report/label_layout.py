"""Compute positions of marks and labels such that none covers another; nothing is drawn here."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def not_far_below(values: pd.Series) -> pd.Series:
    """Return a mask of the values that are neither missing nor below Tukey's lower outer fence."""
    low, high = values.quantile(0.25), values.quantile(0.75)
    return values >= low - 3 * (high - low) if high > low else values.notna()


def spread(heights: NDArray[np.float64], gap: float, floor: float = 0.0) -> NDArray[np.float64]:
    """Move ascending heights until neighbours are at least `gap` apart, within floor and 1."""
    steps = gap * np.arange(len(heights))
    wanted = heights - steps
    # `up` only raises labels and `down` only lowers them; in both, neighbours are a gap apart. So
    # they are in the mean of the two, which moves labels least.
    up = np.maximum.accumulate(wanted)
    down = np.minimum.accumulate(wanted[::-1])[::-1]
    return np.asarray(np.clip((up + down) / 2, floor, 1 - steps[-1:].sum()) + steps)


def side_by_side(values: pd.Series, categories: list[object], width: float = 0.4) -> pd.Series:
    """Return an x for each value: those of category k are spread over `width` around k.

    A value that is NaN has x NaN.
    """
    centres = values.map({value: float(k) for k, value in enumerate(categories)}).astype(float)
    order = values.groupby(values).cumcount().reindex(values.index)
    last = order.groupby(values).transform("max")
    return centres + width * (order / last - 0.5).where(last > 0, 0.0)
