"""Training checkpoints to convert, and what must come out."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def state(shift: float = 0) -> dict[str, Tensor]:
    """A network with BatchNorm: floats, and a counter."""
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).state_dict()
    return OrderedDict((n, t + shift if t.is_floating_point() else t) for n, t in made.items())


def training() -> dict[str, Any]:
    """What stands beside the weights in a training checkpoint, tensors among it."""
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(4, 3)}
    return {
        "epoch": 3,
        "optimizer": {"state": {"0.weight": moments, "0.bias": moments}, "param_groups": []},
        "lr_schedulers": [{"last_epoch": 3, "lrs": {"a": torch.ones(2)}}],
        "best": torch.tensor(0.5),
    }


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def put(tmp_path: Path, content: object, name: str = "source.pt", **options: Any) -> Path:
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


def assert_same(path: Path, expected: dict[str, Tensor]) -> None:
    written = load_file(path)
    assert written.keys() == expected.keys()
    for name, tensor in expected.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor), name


RAW, EMA = state(), state(shift=1)

SHARED = {"current_model_state": RAW, "state_dict": EMA, "averaging_state": {}}

LIGHTNING = {"pytorch-lightning_version": "2.5", "loops": {"x": {"y": torch.ones(3)}}, **training()}
