"""Which distances are outliers, and how much is said of many."""

import pytest
import torch
from torch import Tensor

from soup.evaluation.diagnosis.finding import findings
from soup.evaluation.diagnosis.geometry import kinship, measure
from soup.evaluation.diagnosis.weight_causes import rates

BASE = {"w": torch.randn(100, 100, generator=torch.Generator().manual_seed(0))}


def at(distance: float, seed: int) -> dict[str, Tensor]:
    """A model at this share of the base's length from the base."""
    step = torch.randn(100, 100, generator=torch.Generator().manual_seed(seed))
    return {"w": BASE["w"] + distance * BASE["w"].norm() / step.norm() * step}


def outliers(distances: list[float], base: dict[str, Tensor] | None) -> set[str]:
    models = {str(d): at(d, seed) for seed, d in enumerate(distances, start=1)}
    geometry = measure(models, base)
    return {name for one in rates(kinship(geometry), {}) for name in one.evidence}


@pytest.mark.parametrize("base", [None, BASE])
@pytest.mark.parametrize(
    ("distances", "far"),
    [
        ([0.1, 0.11, 0.12, 0.5], {"0.5"}),
        ([0.1, 0.1, 0.1, 0.1, 0.19], set()),  # beyond all deviations, but not twice the median
        ([0.01, 0.02, 0.04, 0.08, 0.16, 0.32], set()),  # rates over decades: nobody is odd
        ([0.1, 0.11, 1.5], {"1.5"}),  # by its cosine
        ([0.1, 0.12], set()),
    ],
)
def test_an_outlier_is_far_beyond_the_others(
    distances: list[float], far: set[str], base: dict[str, Tensor] | None
) -> None:
    assert outliers(distances, base) == far


def test_the_numbers_are_those_of_the_geometry() -> None:
    geometry = measure({"A": at(0.1, 1), "B": at(0.1, 2), "hot": at(0.6, 3)}, BASE)
    (found,) = rates(kinship(geometry), {"A": 1e-5, "B": 3e-5, "hot": 1e-3})
    lengths = [float(w.double().norm()) for w in (at(0.6, 3)["w"], at(0.1, 2)["w"], BASE["w"])]
    evidence = found.evidence["hot"]
    assert evidence["relative"] == pytest.approx(0.6 * (lengths[2] / lengths[0]) ** 0.5, rel=1e-4)
    assert evidence["median"] == pytest.approx(0.1 * (lengths[2] / lengths[1]) ** 0.5, rel=1e-2)
    assert evidence["lr"] == 1e-3
    assert "from the base, where the median is 0.1 (" in found.summary
    assert found.summary.endswith("with a learning rate of 0.001 against 3e-05")
    assert found.strength == pytest.approx(1 - 2 * evidence["median"] / evidence["relative"])


def test_models_equal_to_the_base_make_nobody_an_outlier_by_zero() -> None:
    assert outliers([0.0, 0.0, 0.0], BASE) == set()


def test_of_many_sentences_the_first_three_are_said() -> None:
    (short,) = findings("head", ["a", "b", "c"], {}, "", 1)
    (long,) = findings("head", ["a", "b", "c", "d", "e"], {}, "", 1)
    assert short.summary == "a; b; c"
    assert long.summary == "a; b; c; and 2 more"
    assert findings("head", [], {}, "", 1) == []
