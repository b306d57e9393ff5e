"""Of several sets of weights in a file the likeliest comes first, and all are found."""

from typing import Any

import pytest
import torch

from soup.models.conversion.candidates import candidates, choose

SMALL, LARGE = {"w": torch.ones(2)}, {"w": torch.ones(9), "step": torch.tensor(3)}


def found(content: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(each.key, each.averaged) for each in candidates(content)]


def test_known_names_come_first_and_then_the_larger() -> None:
    content = {"critic": SMALL, "generator": LARGE, "model": SMALL, "state_dict": SMALL}
    assert [key for key, _ in found(content)] == ["state_dict", "model", "generator", "critic"]


@pytest.mark.parametrize(
    "name", ["ema", "state_dict_ema", "model_ema", "EMACallback", "swa_model", "averaged_model"]
)
def test_averages_are_known_by_their_name(name: str) -> None:
    assert found({"x": LARGE, name: SMALL}) == [("x", False), (name, True)]
    assert found({"x": LARGE, name: {"state": SMALL}}) == [("x", False), (f"{name}.state", True)]


def test_a_name_that_only_contains_the_letters_is_no_average() -> None:
    assert found({"schema": SMALL}) == [("schema", False)]


def test_averaged_weights_alone_are_taken_unasked() -> None:
    assert choose(candidates({"ema": SMALL}), ema=False, key=None).averaged


def test_entries_that_are_no_tensors_are_dropped_and_named() -> None:
    [one] = candidates({"a": torch.ones(2), "b": torch.ones(2), "a._extra_state": None})
    assert (list(one.weights), one.dropped) == (["a", "b"], ("a._extra_state",))


def test_a_list_without_names_counts_only_if_it_fits_the_weights() -> None:
    averages = {"callbacks": {"EMA": {"ema_weights": [torch.zeros(9), torch.tensor(4)]}}}
    one, two = candidates({"state_dict": LARGE, **averages})
    assert (two.key, two.averaged) == ("callbacks.EMA.ema_weights", True)
    assert two.weights["w"].tolist() == [0] * 9
    assert found({"state_dict": SMALL, **averages}) == [("state_dict", False)]
    assert not one.averaged


def test_weights_with_names_like_trainings_own_are_kept() -> None:
    weights = {"scaler.w": torch.ones(2), "optimal.w": torch.ones(2)}
    [one] = candidates({"state_dict": weights, "optimizer": {"state": {"a": SMALL}}})
    assert one.weights.keys() == weights.keys()


def test_one_set_of_weights_under_two_keys_is_found_at_both() -> None:
    assert found({"best": SMALL, "state_dict": SMALL}) == [("state_dict", False), ("best", False)]


def test_tables_of_settings_and_scores_are_no_weights() -> None:
    settings = {"lr": 0.1, "epochs": 3, "mean": torch.ones(3)}
    scores = {"first.ckpt": torch.tensor(0.5), "last.ckpt": torch.tensor(0.6)}
    content = {"state_dict": SMALL, "data": settings, "best_k_models": scores}
    assert found(content) == [("state_dict", False)]


def test_what_is_shared_is_searched_once() -> None:
    node: dict[str, Any] = {"a": 1}
    for _ in range(5):
        node = {f"key{i}": node for i in range(99)}  # ten thousand million paths
    assert found({"model": SMALL, "x": node}) == [("model", False)]
