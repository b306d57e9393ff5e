"""The study of calibration, beside a literal computation of each figure."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from soup.config.studies import StudyOptions
from soup.report.figures import svg
from soup.studies.calibration import BINS, STUDY, sentence
from soup.studies.reliability import confidence, difference_interval, temperature
from tests.reference import equal_mass_ece
from tests.studies.mlp_pool import Pool, pool


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soup.studies.calibration.RESAMPLES", 10)


@pytest.fixture(scope="module")
def made() -> Pool:
    return pool(4, examples=150, seed=1)


def members_of(made: Pool, method: str) -> list[str]:
    ranked = made.ranked
    if method == "best single":
        return ranked[:1]
    if method != "greedy":
        return ranked
    kept: list[str] = []
    for name in ranked:
        if not kept or made.errors(made.average([*kept, name]), "heldout") <= made.errors(
            made.average(kept), "heldout"
        ):
            kept.append(name)
    return kept


def logits_of(made: Pool, method: str, split: str) -> Any:
    members = members_of(made, method)
    if method == "ensemble":
        return sum(made.logits(made.models[n], split) for n in members) / len(members)
    return made.logits(made.average(members), split)


def searched(logits: Any, labels: Any) -> float:
    """The temperature of the least loss, from a fine grid."""

    def loss(t: float) -> float:
        total = 0.0
        for row, label in zip(logits, labels, strict=True):
            exps = [math.exp((x - max(row)) / t) for x in row]
            total -= math.log(exps[label] / sum(exps))
        return total

    grid = [1.02**step for step in range(-120, 121)]
    return min(grid, key=loss)


def test_every_error_and_temperature_is_that_of_a_literal_computation(
    made: Pool, tmp_path: Path
) -> None:
    found = STUDY.run(made.bench(tmp_path), StudyOptions())
    rows = found.table.drop_duplicates(["method", "split", "scaling"])
    assert len(rows) == 4 * 2 * 2
    labels = made.sets["heldout"].labels
    best = {m: searched(logits_of(made, m, "heldout"), labels) for m in rows["method"].unique()}
    for row in rows.to_dict("records"):
        if row["scaling"] == "temperature":
            assert row["temperature"] == pytest.approx(best[row["method"]], rel=0.02)
        parts = ["far one", "far two"] if row["split"] == "shifts" else [row["split"]]
        errors = [
            equal_mass_ece(
                logits_of(made, row["method"], part) / row["temperature"],
                made.sets[part].labels,
                BINS,
            )
            for part in parts
        ]
        assert row["ece"] == pytest.approx(sum(errors) / len(errors), abs=1e-9), row
    assert svg(found.figure).startswith("<svg")


def test_the_bins_hold_all_examples_and_give_the_error(made: Pool, tmp_path: Path) -> None:
    table = STUDY.run(made.bench(tmp_path), StudyOptions()).table
    for (_, split, _), group in table.groupby(["method", "split", "scaling"]):
        if split != "test":
            continue
        assert group["n"].sum() == len(made.sets["test"])
        gaps = (group["confidence"] - group["accuracy"]).abs() * group["n"]
        assert gaps.sum() / group["n"].sum() == pytest.approx(group["ece"].iloc[0])


def test_a_second_run_makes_no_pass(made: Pool, tmp_path: Path) -> None:
    first = STUDY.run(made.bench(tmp_path), StudyOptions())
    made.passes.clear()
    pd.testing.assert_frame_equal(
        STUDY.run(made.bench(tmp_path), StudyOptions()).table, first.table
    )
    assert made.passes == []


def test_the_temperature_of_logits_that_were_scaled_is_the_scale() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in chances])
    assert temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)


def test_the_interval_of_a_model_and_itself_is_zero_and_of_a_worse_one_above() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3))
    labels = np.array([rng.choice(3, p=np.exp(r) / np.exp(r).sum()) for r in logits])
    good, bad = confidence(logits, labels), confidence(logits * 20, labels)
    assert tuple(difference_interval([good], [good], 15, 50, 0.95, 0)) == (0, 0)
    assert difference_interval([good], [bad], 15, 50, 0.95, 0).low > 0.1


def table_of(**bounds: tuple[float, float]) -> pd.DataFrame:
    rows = [
        {"method": method.replace("_", " "), "split": "test", "scaling": "none", "ece": 0.05,
         "low": low, "high": high}
        for method, (low, high) in {"best_single": (0, 0), **bounds}.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_verdict_needs_an_ensemble_that_helps_and_soups_that_do_not() -> None:
    ensemble, none = (-0.03, -0.01), (-0.01, 0.02)
    shows = sentence(table_of(uniform=none, greedy=(0.01, 0.02), ensemble=ensemble))
    assert "The paper's finding shows on test" in shows
    assert "5.0 greedy soup (worse)" in shows
    helped = sentence(table_of(uniform=(-0.02, -0.01), greedy=none, ensemble=ensemble))
    assert "does not show on test: the ensemble improves it beyond noise, and a soup does" in helped
    noisy = sentence(table_of(uniform=none, greedy=none, ensemble=none))
    assert "the ensemble does not improve it beyond noise, and a soup does not" in noisy
