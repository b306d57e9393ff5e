"""Numbers as a reader wants them."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from soup.report import wording


@pytest.mark.parametrize(
    ("say", "value", "expected"),
    [
        (wording.percent, 0.9137, "91.4"),
        (wording.percent, math.nan, "—"),
        (wording.points, 0.0075, "+0.75"),
        (wording.points, -0.0075, "\u22120.75"),
        (wording.points, -0.000001, "0.00"),
        (wording.points, math.nan, "—"),
        (wording.probability, 0.0, "< 0.001"),
        (wording.probability, 0.0412, "0.041"),
        (wording.probability, 0.613, "0.61"),
        (wording.probability, math.nan, "—"),
        (wording.count, 12345.0, "12,345"),
        (wording.count, math.nan, "—"),
        (wording.duration, 0.42, "0.4 s"),
        (wording.duration, 59.4, "59 s"),
        (wording.duration, 59.6, "1 min 00 s"),
        (wording.duration, 4210.0, "1 h 10 min"),
        (wording.duration, math.nan, "—"),
        (wording.setting, 3e-05, "3e-5"),
        (wording.setting, 0.001, "0.001"),
        (wording.setting, 4.0, "4"),
        (wording.setting, np.int64(7), "7"),
        (wording.setting, np.True_, "yes"),
        (wording.setting, False, "no"),
        (wording.setting, math.nan, "—"),
        (wording.setting, None, "—"),
        (wording.setting, "light", "light"),
    ],
)
def test_wording(say: Callable[..., str], value: object, expected: str) -> None:
    assert say(value) == expected
