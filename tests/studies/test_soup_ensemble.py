"""Soup against ensemble: every number against a literal one in float64."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.special import log_softmax, softmax

from soup.config.studies import StudyOptions
from soup.studies.point import between, only
from soup.studies.soup_ensemble import STUDY, draw, inverse_temperature, spread
from tests.studies.sweeps import Predictions, accuracy, literal, sweep


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of logits (..., examples, classes), (...)."""
    return -log_softmax(logits, axis=-1)[..., np.arange(len(labels)), labels].mean(axis=-1)


def test_losses_and_the_approximation_are_those_of_the_formula(tmp_path: Path) -> None:
    bench = sweep(tmp_path)
    table = STUDY.run(bench, StudyOptions()).table
    assert len(table) == 6 * 2
    for row in table[table["split"] == "test"].to_dict("records"):
        first, second = only(row["first"]), only(row["second"])

        def at(a: float, split: str = "test", ends=(first, second)) -> np.ndarray:
            return literal(bench, between(*ends, a), split)

        held = at(0.5, "heldout"), bench.sets["heldout"].labels
        grid = np.exp(np.linspace(-2, 2, 4001))
        b = grid[np.argmin(loss(grid[:, None, None] * held[0], held[1]))]
        assert row["inverse_temperature"] == pytest.approx(b, rel=0.01)
        labels = bench.sets["test"].labels
        soup, ensemble = loss(b * at(0.5), labels), loss(b * (at(0) + at(1)) / 2, labels)
        assert row["difference"] == pytest.approx(soup - ensemble, abs=1e-3)
        h = 1e-3  # a derivative by another rule
        losses = [loss(b * at(0.5 + step), labels) for step in (-h, 0, h)]
        curvature = (losses[0] - 2 * losses[1] + losses[2]) / h**2
        p, df = softmax(b * at(0.5), axis=1), at(1) - at(0)
        variance = ((p * df**2).sum(axis=1) - (p * df).sum(axis=1) ** 2).mean()
        expected = 0.25 / 2 * (-curvature + b**2 * variance)
        assert row["approximation"] == pytest.approx(expected, abs=5e-3)
        assert row["error_soup"] == pytest.approx(
            1 - accuracy(bench, between(first, second, 0.5), "test")
        )


def test_the_approximation_is_close_for_models_that_are_close(tmp_path: Path) -> None:
    given = [{"lr": 0.01, "seed": seed} for seed in range(4)]
    table = STUDY.run(sweep(tmp_path, given=given), StudyOptions()).table
    far = STUDY.run(sweep(tmp_path / "far"), StudyOptions()).table
    errors = [(t["approximation"] - t["difference"]).abs().max() for t in (table, far)]
    assert errors[0] < errors[1]
    assert errors[0] < 2e-3


def test_a_second_study_of_the_same_pairs_costs_no_pass(tmp_path: Path) -> None:
    from soup.studies.angle import STUDY as ANGLE

    predictions = Predictions()
    STUDY.run(sweep(tmp_path, predictions=predictions), StudyOptions())
    passes = predictions.passes
    # 4 models and 3 points on the line of each of 6 pairs, on test and two shifts; and on held-out
    # the middles, by which b is chosen.
    assert passes == 3 * (4 + 6 * 3) + 6
    ANGLE.run(sweep(tmp_path, predictions=predictions), StudyOptions())
    assert predictions.passes == passes


def test_the_sentence_counts_the_table(tmp_path: Path) -> None:
    found = STUDY.run(sweep(tmp_path), StudyOptions())
    of_test = found.table[found.table["split"] == "test"]
    fewer = int((of_test["error_soup"] < of_test["error_ensemble"]).sum())
    assert f"fewer errors than the ensemble for {fewer} of 6" in found.sentence
    assert "rates up to" in found.sentence


def test_the_inverse_temperature_calibrates() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    assert inverse_temperature(4 * logits, labels) == pytest.approx(0.25, rel=0.05)


def test_the_spread_is_the_variance_by_class() -> None:
    assert spread(np.zeros((1, 2)), np.array([[0.0, 2.0]])) == pytest.approx(1)
    assert spread(np.array([[50.0, 0.0]]), np.array([[0.0, 2.0]])) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ends", [(-0.00019, -0.00004), (-0.15, -0.06)])
def test_numbers_below_the_figure_are_apart_at_400_pixels(ends: tuple[float, float]) -> None:
    rows = [{"split": "test", "approximation": end, "difference": end} for end in ends]
    figure = draw(pd.DataFrame(rows))
    figure.set_dpi(400 / figure.get_figwidth())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    labels = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    assert len(boxes) >= 3
    assert min(right.x0 - left.x1 for left, right in pairwise(boxes)) > 5
