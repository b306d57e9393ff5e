"""Barriers between fine-tunes of growing rates, against literal ones."""

from pathlib import Path

import numpy as np
import pytest

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.studies.large_rates import STUDY
from soup.studies.point import between, only
from tests.studies.sweeps import accuracy, sweep


def test_barriers_are_those_of_interpolated_weights(tmp_path: Path) -> None:
    bench = sweep(tmp_path, runs=4)
    table = STUDY.run(bench, StudyOptions(points=5)).table
    rates = {name: bench.models[name].settings["lr"] for name in bench.ranked}
    for (first, second, split), line in table.groupby(["first", "second", "split"]):
        assert rates[first] <= rates[second]
        points = [between(only(first), only(second), t) for t in (0, 0.25, 0.5, 0.75, 1)]
        errors = np.array([1 - accuracy(bench, point, split) for point in points])
        assert np.abs(line["error"] - errors).max() < 1e-9
        straight = np.linspace(errors[0], errors[-1], 5)
        assert line["barrier"].iloc[0] == pytest.approx((errors - straight).max())
        middle = line["middle"].iloc[0]
        assert middle == pytest.approx(errors[2] - (errors[0] + errors[-1]) / 2)
        assert line["low"].iloc[0] <= middle <= line["high"].iloc[0]
        assert line["rate"].iloc[0] == pytest.approx((rates[first] * rates[second]) ** 0.5)
    assert len(table) == 3 * 3 * 5


def test_a_barrier_that_grows_with_the_rate_is_found_and_none_where_there_is_none(
    tmp_path: Path,
) -> None:
    wild = [{"lr": 0.01 * 2**i, "seed": i} for i in range(9)]
    found = STUDY.run(sweep(tmp_path / "wild", given=wild, steps=60), StudyOptions())
    assert "on test" in found.sentence.lower()
    of_test = found.table[found.table["split"] == "test"].drop_duplicates(["first", "second"])
    high = of_test[of_test["low"] > 0]
    assert f"for {len(high)} of 8" in found.sentence
    tame = [{"lr": 0.001 * (1 + i), "seed": i} for i in range(4)]
    calm = STUDY.run(sweep(tmp_path / "tame", given=tame), StudyOptions())
    assert "does not show on test at the rates of this sweep, 0.0014" in calm.sentence
    assert calm.table["middle"].abs().max() < 0.03


def test_fine_tunes_of_one_rate_have_no_answer(tmp_path: Path) -> None:
    given = [{"lr": 0.05, "seed": seed} for seed in range(3)]
    with pytest.raises(
        BadInput, match=r"different learning rates: give a range of sweep\.space\.lr"
    ):
        STUDY.run(sweep(tmp_path, given=given), StudyOptions())
