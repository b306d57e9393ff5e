"""What the figures show, and that they are the same bytes each time."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from soup.evaluation.diagnosis.barrier import Line
from soup.evaluation.diagnosis.figures import crossings, positions
from soup.evaluation.diagnosis.geometry import Geometry, measure
from soup.report.figures import png, svg

LINE = Line(np.array([0, 0.5, 1]), np.array([10.0, 40.0, 20.0]))


def geometry(models: int, based: bool) -> Geometry:
    points = torch.randn(models + 1, 20, 30, generator=torch.Generator().manual_seed(0)).double()
    named = {f"model {i}": {"w": 3 * points[-1] + points[i]} for i in range(models)}
    return measure(named, {"w": 3 * points[-1]} if based else None)["backbone"]


def words(figure: Figure) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg(figure))


FIGURES: list[Callable[[], Figure]] = [
    lambda: positions(geometry(3, based=True)),
    lambda: positions(geometry(2, based=False)),
    lambda: positions(geometry(1, based=False)),
    lambda: crossings({("A", "B"): LINE}),
]


@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_is_spoken_and_the_same_bytes_each_time(make: Callable[[], Figure]) -> None:
    assert svg(make()) == svg(make())
    assert 'aria-label="' in svg(make())


def test_pictures_are_the_same_bytes_each_time() -> None:
    first, second = (png(positions(geometry(2, based=True))) for _ in range(2))
    assert first == second


def test_the_numbers_stand_in_the_cells() -> None:
    found = geometry(3, based=True)
    shown = words(positions(found))
    assert found.angles is not None
    for i in range(3):
        for j in range(3):
            assert f"{found.relative[i, j]:.2g}" in shown
            assert f"{found.angles[i, j]:.0f}" in shown
    assert {"model 0", "the base", "Angle at the base (degrees)"} <= set(shown)
    assert "Cosine" in words(positions(geometry(2, based=False)))


def test_a_model_that_is_the_base_has_no_angle() -> None:
    base = {"w": torch.randn(9, 9, generator=torch.Generator().manual_seed(0))}
    found = measure({"A": base, "B": {"w": base["w"] * 2}}, base)["all"]
    assert "–" in words(positions(found))


def test_many_models_have_colours_alone() -> None:
    assert "0" not in words(positions(geometry(17, based=True)))


def test_a_line_is_named_with_its_barrier() -> None:
    assert "A to B: barrier 25" in words(crossings({("A", "B"): LINE}))
    assert "_$a to [b]: barrier 25" in words(crossings({("_$a", "[b]"): LINE}))


def test_of_many_lines_those_with_the_highest_barriers_are_named() -> None:
    lines = {
        ("A", str(i)): Line(LINE.positions, np.array([10.0, 10.0 + i, 10.0])) for i in range(9)
    }
    shown = words(crossings(lines))
    named = [word for word in shown if "barrier" in word]
    assert named == [f"A to {i}: barrier {i}" for i in (8, 7, 6, 5, 4)]
