"""Targets: weights, and what they say of their model."""

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save as packed
from safetensors.torch import save_file

from soup.evaluation.diagnosis.low_scores import recorded
from soup.models.architecture import Architecture
from soup.models.stored_description import beside, stored
from soup.weights import materialize
from soup.weights.checkpoint import Checkpoint
from soup.weights.file_kinds import foreign
from tests.fuzz.mutations import as_text, change, damage, damaged, texts
from tests.fuzz.target import Target

TENSORS = {
    "conv.weight": torch.arange(6.0).view(2, 3),
    "bn.running_mean": torch.zeros(2, dtype=torch.float16),
    "steps": torch.tensor(3),
    "none": torch.empty(0, 4),
}
DESCRIPTION = {
    "library": "timm",
    "model": "resnet10t",
    "classes": ["blue", "green"],
    "image_size": 20,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "kwargs": {"stem_width": 8},
    "config": {},
}
NOTES = {
    "format": "pt",
    "architecture": json.dumps(DESCRIPTION),
    "heldout_accuracy": "0.75",
    "lr": "0.001",
    "recipe": "greedy",
    "ingredients": '["a", "b"]',
    "soup.tied": '{"head.weight": "conv.weight"}',
}
TIMM = {
    "architecture": "resnet10t",
    "num_classes": 2,
    "global_pool": "avg",
    "model_args": {"stem_width": 8},
    "label_names": ["blue", "green"],
    "pretrained_cfg": {
        "input_size": [3, 20, 20],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "label_names": {"0": "blue", "1": "green"},
    },
}
INDEX = {
    "metadata": {"total_size": 24},
    "weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"},
}
WHOLE = packed(TENSORS, NOTES)
LENGTH = int.from_bytes(WHOLE[:8], "little")
HEADER: dict[str, Any] = json.loads(WHOLE[8 : 8 + LENGTH])
DATA = WHOLE[8 + LENGTH :]


def file(rng: Random) -> bytes:
    """A safetensors file: bytes damaged, or the header changed under a length that fits or not."""
    if rng.random() < 0.5:
        return damage(rng, WHOLE)
    header = as_text(change(rng, HEADER))
    if rng.random() < 0.3:
        header = damage(rng, header, most=2)
    header += b" " * (-len(header) % 8)
    length = max(0, len(header) + rng.choice((0, 0, 0, 0, 1, -1, 8, 1 << 40)))
    return length.to_bytes(8, "little") + header + DATA


def with_notes(rng: Random) -> bytes:
    """A safetensors file whose metadata are strings, as they must be, and odd ones."""
    kept: dict[str, Any] = {}
    for name, text in NOTES.items():
        if text[:1] in "{[" and rng.random() < 0.5:
            kept[name] = as_text(change(rng, json.loads(text))).decode("utf-8", "replace")
        else:
            kept[name] = text
    header = as_text({**HEADER, "__metadata__": change(rng, kept)})
    return len(header).to_bytes(8, "little") + header + DATA


def read(path: Path) -> None:
    """Everything that a command reads of a checkpoint before it builds a model."""
    checkpoint = Checkpoint(path)
    materialize(checkpoint)
    checkpoint.digest()
    stored(checkpoint)
    recorded(checkpoint.metadata)


def shards(folder: Path) -> None:
    save_file({"a": torch.zeros(2)}, folder / "one.safetensors")
    save_file({"b": torch.zeros(2), "c": torch.zeros(2)}, folder / "two.safetensors")


def weights_beside(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors")


TARGETS = [
    Target("safetensors file", file, "w.safetensors", read),
    Target(
        "safetensors on a server",
        file,
        "w.safetensors",
        lambda path: materialize(Checkpoint(f"file://{path}")),
    ),
    Target("metadata of weights", with_notes, "w.safetensors", read),
    Target("index of shards", texts(INDEX), "model.safetensors.index.json", read, shards),
    Target("model.json", texts(DESCRIPTION), "model.json", Architecture.load),
    Target(
        "model.json beside weights",
        texts(DESCRIPTION),
        "model.json",
        lambda path: read(path.parent / "model.safetensors"),
        weights_beside,
    ),
    Target("timm's config.json", texts(TIMM), "config.json", lambda path: beside(path.parent)),
    Target("what kind of file it is", damaged(WHOLE), "w.bin", foreign, also=(OSError,)),
]
