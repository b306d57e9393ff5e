"""Run i is a function of (seed, i), and a dimension of nothing but itself."""

import json
import math
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from soup.config.params import Sweep
from soup.config.search_space import RandAugment, Range, Space
from soup.pipeline.sweep.sampling import runs_to_stop, sample
from soup.train.hyperparameters import Hyperparameters

WIDE = Space(
    lr=Range(min=1e-6, max=1e-4, scale="log"),
    weight_decay=Range(min=1e-4, max=0.5, scale="log"),
    mixup=Range(min=0.2, max=0.9),
    label_smoothing=[0.0, 0.1],
    epochs=[4, 8, 16],
    augment=["none", "rand-m5-n2"],
)


def drawn(runs: int = 20, seed: int = 0, space: Space = WIDE) -> list[Hyperparameters]:
    return sample(Sweep(runs=runs, seed=seed, space=space))


@given(fewer=st.integers(1, 15), more=st.integers(0, 15), seed=st.integers(0, 2**32 - 1))
def test_more_runs_add_runs_and_change_none(fewer: int, more: int, seed: int) -> None:
    assert drawn(fewer, seed) == drawn(fewer + more, seed)[:fewer]


@pytest.mark.parametrize("changed", [name for name, _ in WIDE if name != "like"])
def test_a_change_to_one_dimension_changes_no_other(changed: str) -> None:
    other: dict[str, Any] = {"augment": ["rand-m1-n1"], "seed": [7], "epochs": [5]}
    space = WIDE.model_copy(update={changed: other.get(changed, [0.125])})
    for before, after in zip(drawn(), drawn(space=space), strict=True):
        assert {n for n, v in asdict(before).items() if v != asdict(after)[n]} == {changed}


def test_every_setting_of_the_sweep_that_is_no_search_setting_is_a_hyperparameter() -> None:
    search = {"runs", "imported", "method", "seed", "space", "halving"}
    names = {field.name for field in fields(Hyperparameters)}
    assert Sweep.model_fields.keys() - search - {"swa"} <= names
    changed = {"optimizer": "sgd", "batch_size": 7, "accumulate": 3, "warmup": 0.3, "clip": None}
    changed |= {"decay": "linear", "frozen_batchnorm": True}
    changed |= {"precision": "bfloat16", "compile": True, "grad_checkpointing": True}
    changed |= {"ema": [0.5], "crop": 0.4, "flip": 0.1}
    assert changed.keys() == Sweep.model_fields.keys() - search - {"swa"}
    (run,) = sample(Sweep(runs=1, space=WIDE, swa={"start": 0.3, "lr": 0.2}, **changed))  # type: ignore[arg-type]
    assert {name: run.as_dict()[name] for name in changed} == changed
    assert (run.swa_start, run.swa_lr) == (0.3, 0.2)
    assert Hyperparameters.from_dict(json.loads(json.dumps(run.as_dict()))) == run


def test_another_seed_draws_other_runs() -> None:
    learning_rates = {run.lr for seed in range(3) for run in drawn(10, seed)}
    assert len(learning_rates) == 30


def test_each_run_has_a_seed_of_its_own() -> None:
    assert len({run.seed for run in drawn(50)}) == 50


@given(
    bounds=st.tuples(*[st.floats(1e-9, 1e3)] * 2).map(sorted),
    scale=st.sampled_from(["linear", "log"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_range_is_never_left(bounds: list[float], scale: Any, seed: int) -> None:
    low, high = bounds
    space = Space(lr=Range(min=low, max=high, scale=scale), mixup=Range(min=low, max=low))
    for run in drawn(3, seed, space):
        assert low <= run.lr <= high
        assert run.mixup == low


def test_choices_are_all_drawn() -> None:
    runs = drawn(100)
    assert {run.epochs for run in runs} == {4, 8, 16}
    assert {run.augment for run in runs} == {"none", "rand-m5-n2"}


def test_scales_are_uniform_in_the_value_or_in_its_logarithm() -> None:
    runs = drawn(600)
    logs = [(math.log10(run.lr) + 6) / 2 for run in runs]
    values = [(run.mixup - 0.2) / 0.7 for run in runs]
    assert kstest(logs, "uniform").pvalue > 0.01
    assert kstest(values, "uniform").pvalue > 0.01


def test_dimensions_are_drawn_independently() -> None:
    runs = drawn(600)
    columns = [[math.log(r.lr) for r in runs], [math.log(r.weight_decay) for r in runs]]
    columns += [[r.mixup for r in runs], [r.epochs for r in runs], [r.seed for r in runs]]
    correlations = np.corrcoef(columns)[np.triu_indices(5, k=1)]
    assert np.abs(correlations).max() < 0.12


def grid(runs: int, **dimensions: Any) -> list[Hyperparameters]:
    space = {"lr": [1e-5], "weight_decay": [0.1], "epochs": [4]} | dimensions
    return sample(Sweep(runs=runs, method="grid", space=Space(**space)))


def test_a_grid_is_the_product_with_the_last_dimension_fastest() -> None:
    points = grid(6, lr=[1e-5, 3e-5], epochs=[4, 8, 16], seed=[5])
    assert [(p.lr, p.epochs) for p in points] == [
        (1e-5, 4), (1e-5, 8), (1e-5, 16), (3e-5, 4), (3e-5, 8), (3e-5, 16)
    ]  # fmt: skip
    assert {p.seed for p in points} == {5}
    assert grid(4, lr=[1e-5, 3e-5], epochs=[4, 8, 16], seed=[5]) == points[:4]


def test_seeds_may_be_a_dimension_of_a_grid_and_are_drawn_where_they_are_not() -> None:
    assert [p.seed for p in grid(3, seed=[3, 1, 2])] == [3, 1, 2]
    assert [p.seed for p in grid(2, lr=[1e-5, 3e-5])] == [run.seed for run in drawn(2)]


def test_a_grid_of_too_few_points_is_an_error_that_counts_them() -> None:
    with pytest.raises(ValueError, match=r"sweep.runs is 7, but the grid has 2 points: .*runs: 2"):
        grid(7, epochs=[4, 8])


def test_a_named_space_is_taken_and_changed_where_one_says_so() -> None:
    by_name = sample(Sweep(runs=40, space="paper-random"))  # type: ignore[arg-type]
    own = sample(Sweep(runs=40, space=Space(like="paper-random", epochs=[3])))
    assert {run.epochs for run in own} == {3}
    assert len({run.epochs for run in by_name}) > 8
    assert [run.lr for run in own] == [run.lr for run in by_name]
    grid = sample(Sweep(runs=48, space="paper-grid"))  # type: ignore[arg-type]
    assert len(set(grid)) == 48


def test_a_range_may_be_switched_off_in_a_share_of_the_runs() -> None:
    space = Space(mixup=Range(min=0.2, max=0.9, zero=0.5))
    values = [run.mixup for run in drawn(400, space=space)]
    assert 160 < values.count(0.0) < 240
    assert min(v for v in values if v) >= 0.2


def test_laggards_are_those_below_the_last_that_goes_on() -> None:
    scores = {"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4, "e": RuntimeError("diverged"), "f": math.inf}
    assert runs_to_stop(scores, keep=0.5, share=0.25) == {
        "a": "stopped after 25% of the run: 50.00% held-out, 60.00% needed to go on",
        "d": "stopped after 25% of the run: 40.00% held-out, 60.00% needed to go on",
    }


def test_equal_scores_go_on_together_and_one_always_does() -> None:
    assert runs_to_stop({"a": 0.5, "b": 0.5, "c": 0.4}, keep=0.1, share=0.5).keys() == {"c"}
    assert runs_to_stop({"a": 0.5}, keep=0.01, share=0.5) == {}
    assert runs_to_stop({"a": ValueError()}, keep=0.5, share=0.5) == {}


def test_a_grid_has_no_ranges() -> None:
    with pytest.raises(ValueError, match=r"needs lists of choices, not ranges: lr, augment$"):
        grid(1, lr=Range(min=1e-6, max=1e-4), augment=RandAugment())


def test_fine_tunes_are_stopped_by_the_score_that_is_named() -> None:
    stopped = runs_to_stop({"a": 0.3, "b": -0.1}, 0.5, 0.25, "matthews")
    told = "matthews -10.00 held-out, matthews 30.00 needed to go on"
    assert stopped == {"b": f"stopped after 25% of the run: {told}"}
