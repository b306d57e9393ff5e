"""From answers to tables, against figures worked out by hand or by another library."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

from soup.evaluation import result_tables
from soup.evaluation.result_tables import SHIFTS, Resampling, headline
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets, among_present

RESAMPLING = Resampling(resamples=400, confidence=0.95, seed=0)
CLASSES = 5
LABELS = {
    "heldout": np.arange(40) % CLASSES,
    "test": np.arange(60) % CLASSES,
    "r": np.array([1, 3, 3, 1, 4, 4, 1, 3]),  # classes 0 and 2 are absent
    "v2": np.arange(20) % CLASSES,
}
KEYS = {split: among_present(split, own) for split, own in LABELS.items()}
SHIFTED = ["r", "v2"]


@dataclass(frozen=True)
class Model:
    """A model whose answers are all there."""

    name: str
    kind: str
    logits: Mapping[str, np.ndarray]

    def scored(self, keys: Mapping[str, Targets]) -> result_tables.Model:
        scores = score_splits([self.name], {}, keys, lambda _, split: self.logits[split], 15)
        return result_tables.Model(self.name, self.kind, scores[self.name])


def table(
    models: Sequence[Model], keys: Mapping[str, Targets], shifts: Sequence[str]
) -> pd.DataFrame:
    return result_tables.table([model.scored(keys) for model in models], shifts, RESAMPLING)


def paired(
    soup: Model, single: Model, keys: Mapping[str, Targets], shifts: Sequence[str]
) -> pd.DataFrame:
    return result_tables.paired(soup.scored(keys), single.scored(keys), shifts, RESAMPLING)


def answers(name: str, kind: str, seed: int, strength: float) -> Model:
    rng = np.random.default_rng(seed)
    return Model(
        name,
        kind,
        {
            split: rng.normal(size=(len(own), CLASSES)) + strength * np.eye(CLASSES)[own]
            for split, own in LABELS.items()
        },
    )


@pytest.fixture(scope="module")
def models() -> list[Model]:
    kinds = {"a": "ingredient", "b": "ingredient", "best": "best single", "greedy": "greedy"}
    kinds |= {"ensemble": "ensemble", "uniform": "uniform"}
    strengths = [0.5, 1.0, 1.0, 2.0, 1.5, 0.8]
    return [
        answers(name, kind, seed, strength)
        for seed, ((name, kind), strength) in enumerate(zip(kinds.items(), strengths, strict=True))
    ]


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Among the classes that occur, one example after another."""
    present = sorted({int(label) for label in labels})
    hits = [
        max(present, key=lambda c, row=row: row[c]) == label  # type: ignore[misc]
        for row, label in zip(logits, labels, strict=True)
    ]
    return sum(hits) / len(hits)


def get(frame: pd.DataFrame, **where: str) -> Mapping[str, float]:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    (row,) = frame.to_dict("records")
    return row


def test_a_shift_with_some_classes_is_scored_among_those_alone() -> None:
    labels = np.array([1, 3, 3])
    logits = np.array([[9.0, 2, 0, 1, 0], [0, 1, 9, 2, 9], [0, 2, 0, 1, 0]])
    model = Model("m", "greedy", {"r": logits})
    row = get(table([model], {"r": among_present("r", labels)}, ["r"]), split="r")
    assert row["accuracy"] == pytest.approx(2 / 3)
    expected = -np.log(softmax([[2, 1], [1, 2], [2, 1]], axis=1)[[0, 1, 2], [0, 1, 1]]).mean()
    assert row["nll"] == pytest.approx(expected)


def test_a_key_to_another_splits_answers_scores_those_again(models: list[Model]) -> None:
    """ReaL: the test images that have labels, each right with any of its own."""
    rows, sets = np.array([0, 2, 5, 7]), np.array([[0, 1], [2, -1], [3, 4], [1, -1]])
    keys = {**KEYS, "real": Targets("test", tuple((c,) for c in range(CLASSES)), sets, rows)}
    frame = table(models, keys, SHIFTED)
    assert "real" not in models[0].logits
    hits = {}
    for model in models:
        tops = [int(model.logits["test"][row].argmax()) for row in rows]
        hits[model.name] = [top in known for top, known in zip(tops, sets.tolist(), strict=True)]
        row = get(frame, model=model.name, split="real")
        assert row["accuracy"] == pytest.approx(np.mean(hits[model.name]))
        assert row["n"] == 4
        chances = softmax(model.logits["test"][rows], axis=1)
        likely = [
            p[[k for k in known if k >= 0]].sum() for p, known in zip(chances, sets, strict=True)
        ]
        assert row["nll"] == pytest.approx(-np.log(likely).mean())
    told = get(paired(models[3], models[0], keys, SHIFTED), split="real")
    assert told["difference"] == pytest.approx(np.mean(hits["greedy"]) - np.mean(hits["a"]))
    before = table(models, KEYS, SHIFTED)
    pd.testing.assert_frame_equal(frame[frame.split != "real"].reset_index(drop=True), before)


def test_there_is_a_row_for_each_model_and_split_and_for_the_mean_shift(
    models: list[Model],
) -> None:
    frame = table(models, KEYS, SHIFTED)
    columns = ["model", "kind", "split", "n", "accuracy", "low", "high", "nll", "ece"]
    assert list(frame.columns) == columns
    keys = list(zip(frame.model, frame.split, strict=True))
    assert keys == [(m.name, split) for m in models for split in [*LABELS, SHIFTS]]
    for model in models:
        for split, labels in LABELS.items():
            row = get(frame, model=model.name, split=split)
            assert row["accuracy"] == pytest.approx(accuracy(model.logits[split], labels))
            assert row["n"] == len(labels)
            assert row["low"] <= row["accuracy"] <= row["high"]
            assert 0 <= row["ece"] <= 1


def test_the_shifts_count_alike_whatever_their_size(models: list[Model]) -> None:
    frame = table(models, KEYS, SHIFTED)
    for model in models:
        each = [get(frame, model=model.name, split=s)["accuracy"] for s in SHIFTED]
        row = get(frame, model=model.name, split=SHIFTS)
        assert row["accuracy"] == pytest.approx(np.mean(each))
        assert row["n"] == 28
        assert np.isnan(row["nll"])
        assert row["low"] <= row["accuracy"] <= row["high"]


def test_without_shifts_there_is_no_mean_of_them(models: list[Model]) -> None:
    own = {"test": KEYS["test"]}
    assert set(table(models, own, [])["split"]) == {"test"}
    assert set(paired(models[3], models[2], own, [])["split"]) == {"test"}


def test_soup_and_best_single_are_compared_example_by_example(models: list[Model]) -> None:
    soup, single = models[3], models[2]
    tests = paired(soup, single, KEYS, SHIFTED)
    assert tests["split"].tolist() == [*LABELS, SHIFTS]
    for split, labels in LABELS.items():
        row = get(tests, split=split)
        present = np.unique(labels)
        hits = [
            present[m.logits[split][:, present].argmax(axis=1)] == labels for m in (soup, single)
        ]
        ours, theirs = int((hits[0] > hits[1]).sum()), int((hits[1] > hits[0]).sum())
        assert (row["soup_only"], row["single_only"]) == (ours, theirs)
        assert row["p_value"] == pytest.approx(binomtest(ours, ours + theirs).pvalue)
        assert row["difference"] == pytest.approx((ours - theirs) / len(labels))
        assert row["low"] <= row["difference"] <= row["high"]


def test_the_mean_of_the_shifts_is_tested_as_one(models: list[Model]) -> None:
    tests = paired(models[3], models[2], KEYS, SHIFTED)
    mean, (r, v2) = get(tests, split=SHIFTS), (get(tests, split=s) for s in SHIFTED)
    assert mean["difference"] == pytest.approx((r["difference"] + v2["difference"]) / 2)
    assert mean["soup_only"] == r["soup_only"] + v2["soup_only"]
    assert mean["single_only"] == r["single_only"] + v2["single_only"]
    # Every swap of answers that differ, written out.
    m = [int(x["soup_only"] + x["single_only"]) for x in (r, v2)]
    sizes = [len(LABELS[s]) for s in SHIFTED]
    signs = (np.arange(2 ** sum(m))[:, None] >> np.arange(sum(m))) & 1
    weight = np.repeat([1 / sizes[0], 1 / sizes[1]], m)
    null = np.abs((2 * signs - 1) @ weight) / 2
    exact = float((null >= abs(mean["difference"]) - 1e-12).mean())
    assert mean["p_value"] == pytest.approx(exact, abs=0.02)


def test_a_model_against_itself_differs_in_nothing(models: list[Model]) -> None:
    tests = paired(models[3], models[3], KEYS, SHIFTED)
    assert (tests[["soup_only", "single_only", "difference", "low", "high"]] == 0).all(axis=None)
    assert (tests["p_value"] == 1).all()


def test_the_headline_has_the_figures_of_the_tables(models: list[Model]) -> None:
    results = table(models, KEYS, SHIFTED)
    tests = paired(models[3], models[2], KEYS, SHIFTED)
    figures = headline(results, tests, "greedy")
    assert list(figures) == [*LABELS, SHIFTS]
    for split, line in figures.items():
        scores = ["best_single", "soup", "ensemble", "median_ingredient"]
        assert list(line) == [*scores, "gain", "p_value", "gain_low", "gain_high"]
        single = results[(results["kind"] == "ingredient") & (results["split"] == split)]
        assert line["median_ingredient"] == pytest.approx(
            statistics.median(single["accuracy"]), abs=1e-6
        )
        for key, kind in [("best_single", "best single"), ("soup", "greedy"), ("ensemble",) * 2]:
            assert line[key] == pytest.approx(
                get(results, kind=kind, split=split)["accuracy"], abs=1e-6
            )
        assert line["gain"] == pytest.approx(line["soup"] - line["best_single"], abs=2e-6)
        tested = get(tests, split=split)
        assert line["p_value"] == pytest.approx(tested["p_value"], rel=1e-2)
        bounds = [line["gain_low"], line["gain_high"]]
        assert bounds == pytest.approx([tested["low"], tested["high"]], abs=1e-6)
    uniform = headline(results, tests, "uniform")
    assert uniform["test"]["soup"] == pytest.approx(
        get(results, kind="uniform", split="test")["accuracy"], abs=1e-6
    )


def test_answers_that_are_no_numbers_are_wrong_and_not_an_error() -> None:
    keys = {"test": among_present("test", np.array([0, 1]))}
    broken = Model("x", "greedy", {"test": np.array([[np.nan, 0.0], [0.0, 1.0]])})
    assert get(table([broken], keys, []), split="test")["accuracy"] == 0.5


def test_the_same_seed_gives_the_same_tables(models: list[Model]) -> None:
    again = [table(models, KEYS, SHIFTED) for _ in range(2)]
    pd.testing.assert_frame_equal(*again)
