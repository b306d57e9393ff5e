"""The landscape against a literal one: a basis of flattened weights by Gram-Schmidt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.studies.landscape import STUDY
from soup.studies.model import Model
from soup.studies.point import combination
from tests.studies.sweeps import Predictions, literal, sweep

OPTIONS = StudyOptions(points=4, models=["ft-001", "ft-002"])


def flat(weights: object) -> np.ndarray:
    return torch.cat([t.double().reshape(-1) for t in weights.values()]).numpy()


def test_each_point_is_where_gram_schmidt_says(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    table = STUDY.run(bench, OPTIONS).table
    base, first, second = (flat(bench.models[n].weights) for n in ("probe", "ft-001", "ft-002"))
    e1 = (first - base) / np.linalg.norm(first - base)
    rest = (second - base) - (second - base) @ e1 * e1
    e2 = rest / np.linalg.norm(rest)
    at_second = ((second - base) @ e1, (second - base) @ e2)
    for row in table[table["split"] == "test"].to_dict("records"):
        place = base + row["x"] * e1 + row["y"] * e2
        mixed = row["initialisation"] * base + row["first"] * first + row["second"] * second
        assert np.abs(place - mixed).max() < 1e-9
        shares = {"probe": row["initialisation"], "ft-001": row["first"], "ft-002": row["second"]}
        logits = literal(bench, combination(shares), "test")
        labels = bench.sets["test"].labels
        assert row["error"] == pytest.approx((logits.argmax(axis=1) != labels).mean())
        nll = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
        assert row["loss"] == pytest.approx(nll, abs=2e-3)
    xs, ys = sorted(set(table["x"])), sorted(set(table["y"]))
    assert (len(xs), len(ys)) == (4, 4)
    assert xs[0] < 0 < np.linalg.norm(first - base) < xs[-1]
    assert ys[0] < 0 < at_second[1] < ys[-1]
    assert {*table["split"]} == {"train", "heldout", "test", "shift1", "shift2", "shifts"}
    one = table[(table["x"] == xs[0]) & (table["y"] == ys[0])].set_index("split")["error"]
    assert one["shifts"] == pytest.approx((one["shift1"] + one["shift2"]) / 2)


def test_a_landscape_that_was_killed_goes_on(tmp_path: Path) -> None:
    whole = Predictions()
    bench = sweep(tmp_path / "whole", predictions=whole)
    expected = STUDY.run(bench, OPTIONS)
    killed = Predictions(stop_after=30)
    with pytest.raises(KeyboardInterrupt):
        STUDY.run(sweep(tmp_path / "kept", predictions=killed), OPTIONS)
    rest = Predictions()
    found = STUDY.run(sweep(tmp_path / "kept", predictions=rest), OPTIONS)
    assert found.table.equals(expected.table)
    assert found.sentence == expected.sentence
    # Of the point at which it was killed, what was known of some splits is computed again.
    assert whole.passes <= killed.passes + rest.passes < whole.passes + len(bench.sets)


def test_the_sentence_says_what_the_table_says(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    found = STUDY.run(bench, OPTIONS)
    heldout = found.table[found.table["split"] == "heldout"]
    tied = heldout[heldout["error"] == heldout["error"].min()]
    best = tied.loc[tied["loss"].idxmin()]
    word = "lies between" if best["first"] > 0 and best["second"] > 0 else "does not lie between"
    assert f"Of 16 points the one with the fewest held-out errors {word}" in found.sentence
    test = found.table[(found.table["split"] == "test") & (found.table["x"] == best["x"])]
    error = float(test.loc[test["y"] == best["y"], "error"].iloc[0])
    assert f"it has {100 * (1 - error):.2f} % accuracy" in found.sentence
    assert ("shows here" in found.sentence) != ("does not show here" in found.sentence)


def test_models_on_a_line_have_no_plane(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    base, first = (bench.models[name].weights for name in ("probe", "ft-001"))
    third = {name: 2 * first[name].double() - base[name].double() for name in first}
    bench.models["ft-002"] = Model("ft-002", third, "on the line")
    with pytest.raises(BadInput, match="probe, ft-001, ft-002 are on a line; choose other"):
        STUDY.run(bench, OPTIONS)


def test_a_landscape_is_of_two_fine_tunes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="of two fine-tunes, and 1 are given"):
        STUDY.run(sweep(tmp_path), StudyOptions(models=["ft-000"]))
