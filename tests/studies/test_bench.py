"""What studies ask of a sweep: answers that are right, computed once, and kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from soup.data.progress import Advance
from soup.studies import bench as benches
from soup.studies.bench import Bench
from soup.studies.point import between, combination, mean, only
from tests.studies.sweeps import Predictions, accuracy, literal, sweep


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return sweep(tmp_path_factory.mktemp("kept"))


def test_points_are_named_by_their_models_and_shares() -> None:
    assert (
        mean(["b", "a"]) == combination({"a": 0.5, "b": 0.5}) == between(only("a"), only("b"), 0.5)
    )
    assert between(only("a"), only("b"), 0).model == "a"
    assert mean(["a"]).model == "a"
    assert mean(["a", "b"]).model is None
    assert dict(between(mean(["a", "b"]), only("a"), 0.5).terms) == {"a": 0.75, "b": 0.25}
    with pytest.raises(ValueError, match="needs a model"):
        combination({"a": 0})


def test_logits_of_a_combination_are_those_of_the_summed_weights(bench: Bench) -> None:
    point = combination({"probe": -0.5, "ft-000": 0.9, "ft-002": 0.6})
    for split in ("heldout", "test", "shift1"):
        logits = bench.logits(point, split)
        assert logits.dtype == np.float16
        assert np.abs(logits - literal(bench, point, split)).max() < 0.02
        assert bench.accuracy(point, split) == accuracy(bench, point, split)
    assert bench.accuracy(point, "shifts") == pytest.approx(accuracy(bench, point, "shifts"))


def test_an_answer_is_computed_once_whoever_asks(tmp_path: Path) -> None:
    predictions = Predictions()
    first = sweep(tmp_path, predictions=predictions)
    pair = mean(["ft-000", "ft-001"])
    logits, score = first.logits(pair, "test"), first.score(pair, "test")
    assert predictions.passes == 1
    assert (score.right == (logits.argmax(axis=1) == first.sets["test"].labels)).all()
    again = sweep(tmp_path, predictions=predictions)
    assert (again.logits(pair, "test") == logits).all()
    assert again.figures(pair, ["test"])["test"]["errors"] == (~score.right).sum()
    assert predictions.passes == 1
    again.logits(mean(["ft-000", "ft-002"]), "test")
    assert predictions.passes == 2


def test_other_weights_or_examples_are_answered_anew(tmp_path: Path) -> None:
    predictions = Predictions()
    point = mean(["ft-000", "ft-001"])
    sweep(tmp_path, predictions=predictions).logits(point, "test")
    sweep(tmp_path, predictions=predictions, images=30).logits(point, "test")
    assert predictions.passes == 2
    other = [{"lr": 0.02, "seed": 8}, {"lr": 0.05, "seed": 9}]
    sweep(tmp_path, predictions=predictions, given=other).logits(point, "test")
    assert predictions.passes == 3


def test_logits_too_large_to_keep_leave_their_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = Predictions()
    point = mean(["ft-000", "ft-001"])
    small = sweep(tmp_path / "small").score(point, "test")
    monkeypatch.setattr(benches, "LARGEST", 10)
    for _ in range(2):
        scored = sweep(tmp_path, predictions=predictions).score(point, "test")
        assert (scored.right == small.right).all()
        assert (scored.nll, scored.ece) == (small.nll, small.ece)
    assert predictions.passes == 1


def test_a_subset_has_the_right_answers_of_its_examples(tmp_path: Path) -> None:
    cut = sweep(tmp_path, images=30)
    assert {split: len(of) for split, of in cut.sets.items()} == dict.fromkeys(cut.sets, 30)
    counts = np.bincount(cut.sets["test"].labels)
    whole = np.bincount(sweep(tmp_path).sets["test"].labels)
    assert np.abs(counts - 30 * whole / whole.sum()).max() <= 1
    point = mean(["ft-000", "ft-001"])
    assert cut.accuracy(point, "test") == accuracy(cut, point, "test")


def test_the_greedy_soup_is_recipe_1(bench: Bench) -> None:
    kept: list[str] = []
    best = -1.0
    for name in bench.candidates:
        score = accuracy(bench, mean([*kept, name]), "heldout")
        if score >= best:
            kept, best = [*kept, name], score
    assert bench.greedy(bench.candidates) == kept
    assert bench.soup("greedy") == mean(kept)
    assert bench.soup("uniform") == mean(bench.candidates)


def test_an_ensemble_sums_logits(bench: Bench) -> None:
    total = sum(literal(bench, only(name), "test") for name in ("ft-000", "ft-001"))
    right = bench.ensemble_score({"ft-000": 0.5, "ft-001": 0.5}, "test").right
    assert (right == (total.argmax(axis=1) == bench.sets["test"].labels)).all()


def test_progress_of_a_study_is_counted_in_examples(tmp_path: Path) -> None:
    told: list[tuple[str, int | None]] = []
    done: list[int] = []

    @contextmanager
    def track(what: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        assert not unit  # what the examples are is known to whoever opens the sweep
        told.append((what, total))
        yield done.append

    bench = sweep(tmp_path)
    bench.track = track
    with bench.counted("angle", 3) as advance:
        for _ in range(3):
            advance()
    images = sum(len(bench.sets[split]) for split in ("heldout", "test", *bench.shifts))
    assert told == [("angle", 3 * images)]
    assert sum(done) == 3 * images
