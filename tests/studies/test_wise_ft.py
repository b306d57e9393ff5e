"""WiSE-FT curves against literal ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from soup.config.studies import StudyOptions
from soup.studies.point import between, only
from soup.studies.wise_ft import STUDY, beyond
from tests.studies.sweeps import Predictions, accuracy, literal, sweep

OPTIONS = StudyOptions(points=3)


def test_every_curve_is_that_of_interpolated_weights(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    table = STUDY.run(bench, OPTIONS).table
    assert {*table["curve"]} == {*bench.ranked, "uniform", "greedy", "ensemble"}
    for row in table[table["curve"] != "ensemble"].to_dict("records"):
        end = only(row["curve"]) if row["curve"] in bench.ranked else bench.soup(row["curve"])
        point = between(only("probe"), end, row["position"])
        assert row["accuracy"] == pytest.approx(accuracy(bench, point, row["split"]))
    starts = table[(table["position"] == 0) & (table["split"] == "test")]
    assert starts["accuracy"].nunique() == 1


def test_the_curve_of_the_ensemble_is_that_of_logits(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    table = STUDY.run(bench, OPTIONS).table
    for row in table[(table["curve"] == "ensemble") & (table["split"] == "test")].to_dict(
        "records"
    ):
        a = row["position"]
        members = [literal(bench, only(name), "test") for name in bench.candidates]
        logits = (1 - a) * literal(bench, only("probe"), "test") + a * np.mean(members, axis=0)
        right = (logits.argmax(axis=1) == bench.sets["test"].labels).mean()
        assert row["accuracy"] == pytest.approx(right)


def test_the_initialisation_may_be_a_candidate_too(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    bench.candidates = ("probe", *bench.candidates)
    table = STUDY.run(bench, OPTIONS).table
    row = table[(table["curve"] == "ensemble") & (table["split"] == "test")].iloc[-1]
    members = [literal(bench, only(name), "test") for name in bench.candidates]
    right = np.mean(members, axis=0).argmax(axis=1) == bench.sets["test"].labels
    assert row["accuracy"] == pytest.approx(right.mean())


def test_points_beyond_a_curve_are_better_on_one_at_least() -> None:
    curve = pd.DataFrame({"curve": "soup", "test": [0.5, 0.7, 0.8], "shifts": [0.6, 0.5, 0.2]})
    # On a corner, below a line, above a line, and to the right of all.
    points = pd.DataFrame({"test": [0.7, 0.75, 0.6, 0.9], "shifts": [0.5, 0.3, 0.57, 0.1]})
    assert beyond(curve, points) == 2
    assert beyond(curve, curve) == 0
    other = pd.DataFrame({"curve": "other", "test": [0.9, 0.9], "shifts": [0.1, 0.05]})
    assert beyond(pd.concat([curve, other]), points) == 1  # no line joins two curves


def test_the_sentence_counts_points_and_compares_what_heldout_chose(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    found = STUDY.run(bench, OPTIONS)
    wide = found.table.pivot_table("accuracy", ["curve", "position"], "split").reset_index()
    greedy, singles = (wide[wide["curve"].isin(of)] for of in (["greedy"], bench.ranked))
    assert f"{beyond(greedy, singles)} of 12" in found.sentence
    assert f"{beyond(singles, greedy)} of 3" in found.sentence
    best = greedy[greedy["heldout"] == greedy["heldout"].max()].iloc[-1]
    assert f"a = {best['position']:.2g} for the greedy soup" in found.sentence
    assert f"the first has {100 * best['test']:.2f} % accuracy" in found.sentence


def test_a_longer_curve_uses_the_points_of_a_shorter_one(tmp_path: Path) -> None:
    predictions = Predictions()
    bench = sweep(tmp_path, predictions=predictions)
    STUDY.run(bench, OPTIONS)
    before = predictions.passes
    STUDY.run(sweep(tmp_path, predictions=predictions), StudyOptions(points=5))
    curves = {bench.soup("greedy"), bench.soup("uniform"), *map(only, bench.ranked)}
    assert predictions.passes - before == len(curves) * 2 * 4  # held-out, test, two shifts


def test_of_models_that_are_named_the_best_on_held_out_is_the_single_one(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    second, third = bench.ranked[1:3]
    found = STUDY.run(bench, StudyOptions(points=3, models=[third, second]))
    single = found.table[found.table["kind"] == "best single"]
    assert {*single["curve"]} == {second}
    assert f"the best of these models ({second})" in found.sentence
