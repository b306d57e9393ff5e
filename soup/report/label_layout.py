"""Where marks and labels go, so that none hides another: arithmetic, no drawing."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def near(values: pd.Series) -> pd.Series:
    """Which values are neither missing nor far below the others, by Tukey's outer fence."""
    low, high = values.quantile(0.25), values.quantile(0.75)
    return values >= low - 3 * (high - low) if high > low else values.notna()


def apart(heights: NDArray[np.float64], gap: float, floor: float = 0.0) -> NDArray[np.float64]:
    """Ascending heights, moved until they stand `gap` apart and lie within floor..1."""
    steps = gap * np.arange(len(heights))
    wanted = heights - steps
    # Both curves rise by at least the gap, one moving labels up only, the other down only; so
    # does their mean, which moves each of them little.
    up = np.maximum.accumulate(wanted)
    down = np.minimum.accumulate(wanted[::-1])[::-1]
    return np.asarray(np.clip((up + down) / 2, floor, 1 - steps[-1:].sum()) + steps)


def side_by_side(values: pd.Series, known: list[object], width: float = 0.4) -> pd.Series:
    """Category k's members in their order around the place k, `width` wide; NaN stays NaN."""
    places = values.map({value: float(place) for place, value in enumerate(known)}).astype(float)
    order = values.groupby(values).cumcount().reindex(values.index)
    last = order.groupby(values).transform("max")
    return places + width * (order / last - 0.5).where(last > 0, 0.0)
