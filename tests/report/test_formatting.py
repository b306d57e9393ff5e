"""Numbers as a reader wants them."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from soup.report import formatting


@pytest.mark.parametrize(
    ("say", "value", "expected"),
    [
        (formatting.percent, 0.9137, "91.4"),
        (formatting.percent, math.nan, "—"),
        (formatting.points, 0.0075, "+0.75"),
        (formatting.points, -0.0075, "\u22120.75"),
        (formatting.points, -0.000001, "0.00"),
        (formatting.points, math.nan, "—"),
        (formatting.interval_name, 0.95, "95% interval"),
        (formatting.interval_name, 0.999, "99.9% interval"),
        (formatting.probability, 0.0, "< 0.001"),
        (formatting.probability, 0.0412, "0.041"),
        (formatting.probability, 0.613, "0.61"),
        (formatting.probability, math.nan, "—"),
        (formatting.count, 12345.0, "12,345"),
        (formatting.count, math.nan, "—"),
        (formatting.duration, 0.42, "0.4 s"),
        (formatting.duration, 59.4, "59 s"),
        (formatting.duration, 59.6, "1 min 00 s"),
        (formatting.duration, 4210.0, "1 h 10 min"),
        (formatting.duration, math.nan, "—"),
        (formatting.setting, 3e-05, "3e-5"),
        (formatting.setting, 0.001, "0.001"),
        (formatting.setting, 4.0, "4"),
        (formatting.setting, np.int64(7), "7"),
        (formatting.setting, np.True_, "yes"),
        (formatting.setting, False, "no"),
        (formatting.setting, math.nan, "—"),
        (formatting.setting, None, "—"),
        (formatting.setting, "light", "light"),
    ],
)
def test_wording(say: Callable[..., str], value: object, expected: str) -> None:
    assert say(value) == expected
