"""Weights files to test with."""

import json
from pathlib import Path

import torch
from torch import Tensor

from soup.weights.checkpoint import save


def different(count: int) -> dict[str, Tensor]:
    """Tensors of a few sizes, each with a value of its own."""
    return {f"w{i:02}": torch.full(((64, 300, 5000)[i % 3],), float(i)) for i in range(count)}


def sharded(models: dict[str, Tensor], folder: Path, parts: int = 3) -> Path:
    """The weights over several files with an index, as Hugging Face lays them out."""
    folder.mkdir(parents=True)
    where = {}
    for part in range(parts):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        names = sorted(models)[part::parts]
        save({name: models[name] for name in names}, folder / file)
        where |= dict.fromkeys(names, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index
