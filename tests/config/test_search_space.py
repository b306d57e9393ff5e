"""A search space is checked by its dimensions and policies."""

from typing import Any

import pytest

from soup.config.named_spaces import filled
from soup.config.params import parse
from soup.config.search_space import RandAugment, Range, Space
from tests.config.given import given, problems
from tests.policies import POLICIES


def test_a_dimension_is_a_range_or_a_list_of_choices() -> None:
    space = parse(given(sweep__space={"lr": {"min": 0.1, "max": 0.2}, "mixup": [0.3]})).sweep.space
    assert (space.lr, space.mixup) == (Range(min=0.1, max=0.2), [0.3])


@pytest.mark.parametrize(
    ("lr", "problem"),
    [
        ({"min": 2, "max": 1}, "lr: min 2.0 is above max 1.0"),
        ({"min": 0, "max": 1, "scale": "log"}, "lr: a log scale needs min > 0, got 0.0"),
        ({"min": -1, "max": 1}, "lr.min: must be at least 0, got -1"),
        ({"min": 0, "max": float("inf")}, "lr.max: must be a finite number, got inf"),
        ({"min": 0}, "lr.max: missing"),
        ([], "no choices given for lr"),
    ],
)
def test_a_dimension_from_which_nothing_can_be_drawn_is_an_error(lr: Any, problem: str) -> None:
    [told] = problems(sweep__space__lr=lr)
    assert told.removeprefix("sweep.space.").removeprefix("sweep.space: ") == problem


def test_a_space_may_be_a_name_alone() -> None:
    assert parse(given(sweep__space="paper-grid")).sweep.space == filled(Space(like="paper-grid"))
    (told,) = problems(sweep__space="paper-gird")
    assert told.startswith("sweep.space.like: must be 'paper-random', 'paper-grid', ")
    assert told.endswith("got 'paper-gird'; did you mean paper-grid?")


@pytest.mark.parametrize("policy", ["none", "minimal", "medium", "strong", *POLICIES])
def test_timms_augmentation_policies_are_taken(policy: str) -> None:
    assert parse(given(sweep__space__augment=[policy])).sweep.space.augment == [policy]


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("mixup", "give none, minimal, medium, strong, or timm's rand-mM-nN"),
        ("augmix-m3", "give none, minimal, medium, strong, or timm's rand-mM-nN"),
        ("rand-m9.5-n2", "'m9.5' is not a whole magnitude, such as m9; mstd makes it vary"),
        ("rand-m9-n1.5", "'n1.5' is not a whole number of operations, such as n2"),
        ("rand-m9-n2-mmax9.5", "'mmax9.5' is not the largest magnitude, whole, such as mmax15"),
        ("rand-m9-mstd", "'mstd' is not the deviation of the magnitude, such as mstd0.5"),
        ("rand-m9-p1.5", "'p1.5' is not the probability of an operation, such as p0.5"),
        ("rand-m9-inc", "'inc' is not inc1 for operations that grow with the magnitude, or inc0"),
        ("rand-m9-tcolour", "'tcolour' is not a set of operations: tweights, t3a or t3aw"),
        ("rand-m9-m5", "m stands there twice"),
        ("rand-m9-x2", "timm knows no section 'x2'; known: m, n, p, mstd, mmax, inc, t"),
        ("rand-", "timm knows no section ''; known: m, n, p, mstd, mmax, inc, t"),
        ("rand-n16-tweights", "tweights has 15 operations, fewer than n16"),
        ("rand-n15-t3aw", "t3aw has 14 operations, fewer than n15"),
    ],
)
def test_an_augmentation_that_is_not_timms_is_refused_by_its_place(
    policy: str, problem: str
) -> None:
    [told] = problems(sweep__space__augment=["none", policy])
    assert told == f"sweep.space.augment.1: {problem}, got '{policy}'"


def test_all_wrong_sections_of_a_policy_are_told_at_once() -> None:
    [told] = problems(sweep__space__augment=["rand-m9.5-n-inc2"])
    assert all(f"'{section}' is not" in told for section in ("m9.5", "n", "inc2"))


RATES = ["lr", "weight_decay", "mixup", "cutmix", "label_smoothing", "layer_decay", "drop_path",
         "sam"]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in RATES for value in (1e-4, "1e-4", 0, 1)
     if (key, value) not in {("label_smoothing", 1), ("layer_decay", 0)}],
)  # fmt: skip
def test_one_number_is_a_list_of_it(key: str, value: float | str) -> None:
    space = parse(given(**{f"sweep__space__{key}": value})).sweep.space
    assert getattr(space, key) == [float(value)]


SMOOTHING = "must be at least 0 and less than 1"
DECAY = "must be greater than 0 and at most 1"
DEPTH = "must be at least 0 and at most 1"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("label_smoothing", 10, f"{SMOOTHING}: 10 is not, got 10"),
        ("label_smoothing", 1, f"{SMOOTHING}: 1 is not, got 1"),
        ("label_smoothing", {"min": 0, "max": 1.5}, f"{SMOOTHING}: 1.5 is not"),
        ("layer_decay", [0.9, 1.3], f"{DECAY}: 1.3 is not, got [0.9, 1.3]"),
        ("layer_decay", 0, f"{DECAY}: 0 is not, got 0"),
        ("layer_decay", {"min": 0, "max": 1}, f"{DECAY}: 0 is not"),
        ("layer_decay", {"min": 0.5, "max": 1, "zero": 0.2}, f"{DECAY}: 0 is not"),
        ("drop_path", 1.5, f"{DEPTH}: 1.5 is not, got 1.5"),
        ("drop_path", {"min": 0.1, "max": 1.1}, f"{DEPTH}: 1.1 is not"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_choices_and_ranges(
    key: str, value: Any, problem: str
) -> None:
    [told] = problems(**{f"sweep__space__{key}": value})
    assert told == f"sweep.space.{key}: {problem}"


def test_the_bounds_themselves_are_taken() -> None:
    ends = {
        "label_smoothing": Range(min=0, max=0.999, zero=0.5),
        "layer_decay": Range(min=1e-3, max=1),
        "drop_path": Range(min=0, max=1, zero=0.5),
    }
    told = {key: value.model_dump() for key, value in ends.items()}
    space = parse(given(sweep__space=told)).sweep.space
    assert {key: getattr(space, key) for key in ends} == ends


def test_one_magnitude_is_a_range_of_it() -> None:
    augment = parse(given(sweep__space__augment={"magnitude": 9, "layers": 2})).sweep.space.augment
    assert augment == RandAugment(magnitude=(9, 9), layers=(2, 2))
