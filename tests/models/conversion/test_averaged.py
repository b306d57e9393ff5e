"""A trained and an averaged model in one file are told apart."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from soup.models.conversion import FormatError, convert
from tests.models.conversion.checkpoints import (
    EMA,
    LIGHTNING,
    RAW,
    SHARED,
    assert_same,
    prefixed,
    put,
)

NEMO = {"EMA": {"cur_step": 3, "ema_weights": list(EMA.values())}}

AVERAGED = {
    "timm": ({"state_dict": RAW, "state_dict_ema": EMA}, "state_dict_ema"),
    "timm's older": ({"model": RAW, "model_ema": prefixed("module.", EMA)}, "model_ema"),
    "plain key": ({"model": RAW, "ema": EMA}, "ema"),
    "shadow": ({"model": RAW, "ema": {"decay": 0.9, "shadow": EMA}}, "ema.shadow"),
    "Lightning": ({**LIGHTNING, **SHARED}, "state_dict"),
    "NeMo": ({**LIGHTNING, "state_dict": RAW, "callbacks": NEMO}, "callbacks.EMA.ema_weights"),
    "torch": ({"net": RAW, "swa_model": {"n_averaged": torch.tensor(3), **EMA}}, "swa_model"),
}


@pytest.mark.parametrize("layout", AVERAGED)
def test_averaged_weights_are_taken_only_when_asked_for(tmp_path: Path, layout: str) -> None:
    content, key = AVERAGED[layout]
    source, out = put(tmp_path, content), tmp_path / "w"
    raw = convert(source, out)
    assert_same(out, RAW)
    assert (raw.averaged, raw.others) == (False, (key,))
    averaged = convert(source, out, ema=True)
    assert_same(out, EMA)
    assert (averaged.averaged, averaged.key, averaged.others) == (True, key, (raw.key,))
    convert(source, out, key=key)
    assert_same(out, EMA)


TOGETHER = {
    "ema_pytorch": (
        {**prefixed("online_model.", RAW), **prefixed("ema_model.", EMA), "step": torch.tensor(3)},
        ("online_model", "ema_model"),
    ),
    "a module beside": (
        {"state_dict": {**prefixed("net.", RAW), **prefixed("ema.module.", EMA)}},
        ("state_dict.net", "state_dict.ema"),
    ),
}


@pytest.mark.parametrize("layout", TOGETHER)
def test_a_trained_and_an_averaged_model_in_one_state_dict_are_two(
    tmp_path: Path, layout: str
) -> None:
    content, (raw, average) = TOGETHER[layout]
    source = put(tmp_path, content)
    assert convert(source, tmp_path / "w").key == raw
    assert_same(tmp_path / "w", RAW)
    assert convert(source, tmp_path / "w", ema=True).key == average
    assert_same(tmp_path / "w", EMA)


def test_an_averaged_model_beside_more_than_one_part_leaves_the_parts_together(
    tmp_path: Path,
) -> None:
    parts = {**prefixed("model.", RAW), "criterion.w": torch.ones(3)}
    source = put(tmp_path, {**parts, **prefixed("model_ema.", EMA)})
    convert(source, tmp_path / "w")
    assert_same(tmp_path / "w", parts)
    convert(source, tmp_path / "w", ema=True)
    assert_same(tmp_path / "w", EMA)
    encoders = {**prefixed("encoder_q.", RAW), **prefixed("encoder_k.", EMA)}
    convert(put(tmp_path, encoders), tmp_path / "w")
    assert_same(tmp_path / "w", encoders)


def test_an_averaged_model_is_unwrapped_and_said_to_be_one(tmp_path: Path) -> None:
    model = AveragedModel(nn.Linear(3, 2))
    found = convert(put(tmp_path, model.state_dict()), tmp_path / "w")
    assert_same(tmp_path / "w", dict(model.module.state_dict()))
    assert (found.averaged, found.dropped, found.stripped) == (True, ("n_averaged",), ("module.",))


def test_averaged_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    source = put(tmp_path, {"generator": RAW, "epoch": 1})
    with pytest.raises(FormatError, match=r"source.pt: holds no averaged .* from 'generator'$"):
        convert(source, tmp_path / "w", ema=True)
    with pytest.raises(FormatError, match=r"holds no weights at 'critic'; .* from 'generator'$"):
        convert(source, tmp_path / "w", key="critic")
    assert not (tmp_path / "w").exists()
