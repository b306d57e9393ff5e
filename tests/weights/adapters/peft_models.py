"""Small models with adapters that PEFT itself made, and what PEFT makes of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import soup

peft = pytest.importorskip("peft")


class Small(nn.Module):
    """A layer of each kind that LoRA changes."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.pytorch_utils import Conv1D

        self.words = nn.Embedding(11, 6)
        self.query = nn.Linear(6, 6)
        self.turned = Conv1D(6, 6)  # holds its weight as (in, out)
        self.wide = nn.Linear(6, 9, bias=False)
        self.patch = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wide(self.turned(self.query(x))))


def base(folder: Path) -> Path:
    """The base that all adapters of a test are trained on."""
    torch.manual_seed(0)
    soup.save(Small().state_dict(), folder / "base.safetensors")
    return folder / "base.safetensors"


def adapter(base: Path, folder: Path, seed: int = 1, **settings: Any) -> dict[str, Tensor]:
    """Train an adapter for a few steps' worth of noise, save it, and return what PEFT merges."""
    torch.manual_seed(seed)
    model = Small()
    model.load_state_dict(dict(soup.Checkpoint(base)))
    plain = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "wide"]}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**{**plain, **settings}))
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    wrapped.save_pretrained(str(folder))
    return merged(base, folder)


def merged(base: Path, folder: Path) -> dict[str, Tensor]:
    """What PEFT makes of a base and an adapter's folder."""
    opened = Small()
    opened.load_state_dict(dict(soup.Checkpoint(base)))
    whole = peft.PeftModel.from_pretrained(opened, str(folder)).merge_and_unload()
    return {name: tensor.detach().clone() for name, tensor in whole.state_dict().items()}


def largest_gap(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of two models of the same names."""
    assert set(one) == set(other)
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)
