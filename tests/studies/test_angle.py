"""Angles and gains of averaging, against literal ones."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from soup.config.studies import StudyOptions
from soup.report.figures import svg
from soup.studies.angle import STUDY
from soup.studies.pairs import differs
from soup.studies.point import mean, only
from soup.studies.statistics import correlation, mean_interval, pair_correlation, share
from tests.studies.sweeps import Predictions, accuracy, sweep


def test_angles_and_gains_are_those_of_the_flattened_weights(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    table = STUDY.run(bench, StudyOptions()).table
    assert len(table) == 6 * 2
    flat = {
        name: torch.cat([t.double().reshape(-1) for t in model.weights.values()]).numpy()
        for name, model in bench.models.items()
    }
    for row in table.to_dict("records"):
        a, b = (flat[row[end]] - flat["probe"] for end in ("first", "second"))
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert row["angle"] == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-4)
        ends = [accuracy(bench, only(row[end]), row["split"]) for end in ("first", "second")]
        average = accuracy(bench, mean([row["first"], row["second"]]), row["split"])
        assert row["gain"] == pytest.approx(average - sum(ends) / 2)
    kinds = {
        (row.first, row.second): row.differs for row in table[table["split"] == "test"].itertuples()
    }
    named = {frozenset(pair): kind for pair, kind in kinds.items()}
    assert named[frozenset(("ft-002", "ft-003"))] == "augmentation"
    assert named[frozenset(("ft-001", "ft-002"))] == "rate"
    assert named[frozenset(("ft-000", "ft-001"))] == "several"


def test_what_differs_is_told_by_the_hyperparameters() -> None:
    run = {"lr": 1e-5, "seed": 1, "augment": "minimal", "weight_decay": 0.1}
    assert differs(run, {**run, "seed": 2}) == "seed"
    assert differs(run, {**run, "lr": 2e-5}) == "rate"
    assert differs(run, {**run, "lr": 2e-5, "seed": 7}) == "rate"
    assert differs(run, {**run, "augment": "rand-m5-n1"}) == "augmentation"
    assert differs(run, {**run, "weight_decay": 0.2}) == "weight decay"
    assert differs(run, {**run, "weight_decay": 0.2, "lr": 1.0}) == "several"
    assert differs(run, run) == "average of one run"


def test_the_sentence_has_the_correlation_of_the_table(tmp_path: Path) -> None:
    found = STUDY.run(sweep(tmp_path, runs=6), StudyOptions())
    for split in ("test", "shifts"):
        of_split = found.table[found.table["split"] == split]
        value = spearmanr(of_split["angle"], of_split["gain"]).statistic
        assert f"{value:+.2f}".replace("-", "−") in found.sentence
    assert "15 pairs" in found.sentence
    assert "paper's finding" in found.sentence


def test_only_so_many_pairs_are_computed(tmp_path: Path) -> None:
    predictions = Predictions()
    bench = sweep(tmp_path, runs=5, predictions=predictions)
    table = STUDY.run(bench, StudyOptions(pairs=2)).table
    assert len(table) == 2 * 2
    models = {*table["first"], *table["second"]}
    assert predictions.passes == (2 + len(models)) * 3  # test and two shifts
    assert STUDY.run(bench, StudyOptions(pairs=2)).table.equals(table)
    assert predictions.passes == (2 + len(models)) * 3


def test_a_correlation_has_an_interval_over_models_and_a_test_that_shuffles_them() -> None:
    names = [f"m{i}" for i in range(8)]
    pairs = [*itertools.combinations(names, 2)]
    rng = np.random.default_rng(3)
    x = rng.normal(size=len(pairs))
    strong = pair_correlation(pairs, x, x + 0.1 * rng.normal(size=len(pairs)))
    assert strong.low > 0.8
    assert strong.p < 0.01
    none = [pair_correlation(pairs, x, rng.normal(size=len(pairs))) for _ in range(20)]
    assert sum(found.p < 0.05 for found in none) <= 3
    assert sum(found.low < 0 < found.high for found in none) >= 15
    # One odd model makes many pairs odd; by pairs it would look certain.
    odd = [float("m0" in pair) for pair in pairs]
    noisy = [value + 0.01 * rng.normal() for value in odd]
    assert pair_correlation(pairs, odd, noisy).p > 0.05
    assert np.isnan(pair_correlation(pairs, x, [1.0] * len(pairs)).value)
    assert "same for all 28 pairs" in str(pair_correlation(pairs, x, [1.0] * len(pairs)))
    assert str(pair_correlation(pairs[:1], [1.0], [2.0])) == "not defined for a single pair"


def test_fine_tunes_that_did_not_move_have_no_angles(tmp_path: Path) -> None:
    bench = sweep(tmp_path, runs=3)
    for name in bench.ranked:
        bench.models[name] = replace(bench.models["probe"], name=name)
    found = STUDY.run(bench, StudyOptions())
    assert found.sentence == (
        "There are no angles: one of the two of each pair is equal to the initialisation."
    )
    assert found.table["gain"].eq(0).all()
    assert svg(found.figure).startswith("<svg")


def test_a_correlation_of_single_things_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = x + 0.5 * rng.normal(size=12)
    found, expected = correlation(x, y), spearmanr(x, y)
    assert found.value == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert 0 < found.low < found.value < found.high <= 1
    assert np.isnan(correlation(x, np.ones(12)).value)


def test_shares_and_means_have_intervals() -> None:
    assert share(7, 9) == "7 of 9 (45 to 94 %)"
    pairs = [*itertools.combinations("abcdef", 2)]
    low, high = mean_interval([1.0] * 15, pairs)
    assert low == pytest.approx(1)
    assert high == pytest.approx(1)
    low, high = mean_interval([*range(15)], pairs)
    assert low < 7 < high
