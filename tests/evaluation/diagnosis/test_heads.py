"""Whose head it is, and heads whose rows were shuffled on purpose."""

import numpy as np
import pytest
import torch

from soup.evaluation.diagnosis.heads import guess_head, matching
from soup.weights import specs


@pytest.mark.parametrize(
    ("names", "head"),
    [
        (["blocks.0.mlp.fc1.weight", "head.weight", "head.bias"], ["head.weight", "head.bias"]),
        (["layer4.1.conv1.weight", "fc.weight", "fc.bias"], ["fc.weight", "fc.bias"]),
        (["head.fc.bias", "head.fc.weight", "stem.weight"], ["head.fc.weight", "head.fc.bias"]),
        (["classifier.10.weight", "classifier.6.weight"], ["classifier.10.weight"]),
        (["module.head.weight", "module.body.weight"], ["module.head.weight"]),
        (["classification_head.weight", "visual.proj"], ["classification_head.weight"]),
        (["blocks.0.mlp.fc.weight", "overhead.weight"], []),
    ],
)
def test_the_head_is_guessed_from_the_names(names: list[str], head: list[str]) -> None:
    weights = {n: torch.zeros(3, 4) if "bias" not in n else torch.zeros(3) for n in names}
    assert guess_head(specs(weights)) == head


def heads(seed: int, classes: int, features: int, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Two heads whose rows have about this cosine, beside a mean row that is common to all."""
    rng = np.random.default_rng(seed)
    first, own = rng.normal(size=(2, classes, features))
    second = alike * first + np.sqrt(1 - alike**2) * own
    return first + 3, second + 3


@pytest.mark.parametrize("alike", [1.0, 0.9, 0.4])
@pytest.mark.parametrize(("classes", "features"), [(2, 256), (20, 256), (100, 512)])
def test_shuffled_classes_are_put_in_order(classes: int, features: int, alike: float) -> None:
    first, second = heads(0, classes, features, alike)
    order = np.roll(np.arange(classes), 1)
    found = matching(first, second[order])
    assert list(found.moved) == list(range(classes))
    # Row i of the first is at the place of the second where order says i.
    assert list(found.to) == [list(order).index(i) for i in range(classes)]
    assert found.matched > found.in_place + 0.3


def test_two_classes_in_each_others_place_are_found() -> None:
    first, second = heads(1, 20, 256, 0.9)
    second[[3, 7]] = second[[7, 3]]
    found = matching(first, second)
    assert dict(zip(found.moved, found.to, strict=True)) == {3: 7, 7: 3}


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.95])
@pytest.mark.parametrize(("classes", "features"), [(2, 64), (3, 16), (20, 64), (100, 96)])
def test_no_order_is_seen_where_there_is_none(classes: int, features: int, alike: float) -> None:
    found = [matching(*heads(seed, classes, features, alike)) for seed in range(40)]
    assert sum(1 for one in found if one.moved) <= 1


def test_a_row_that_fits_its_place_nearly_as_well_as_another_is_not_moved() -> None:
    first, second = heads(2, 20, 256, 1.0)
    own = np.random.default_rng(3).normal(size=(2, 256))
    second[[4, 9]] = 3 + 0.42 * (first[[4, 9]] - 3) + 0.46 * (first[[9, 4]] - 3) + 0.8 * own
    assert not matching(first, second).moved
    second[[4, 9]] = 3 + 0.05 * (first[[4, 9]] - 3) + 0.46 * (first[[9, 4]] - 3) + 0.8 * own
    assert list(matching(first, second).moved) == [4, 9]


def test_rows_that_depend_on_each_other_are_no_order() -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 64))
    first, second = rng.normal(size=(2, 20, 3)) @ basis
    assert not matching(first, second).moved


def test_heads_that_are_zero_or_not_finite_are_left_alone() -> None:
    first, second = heads(0, 5, 16, 0.9)
    assert not matching(first, np.zeros_like(second)).moved
    second[0, 0] = np.nan
    assert not matching(first, second).moved
