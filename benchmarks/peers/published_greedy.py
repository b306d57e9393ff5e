"""The published greedy loop, told anew from main.py and utils.py of mlfoundations/model-soups.

    python benchmarks/peers/published_greedy.py CACHE MODELS BATCH WORKERS

CACHE is made by `finetunes.py`. Prints as JSON the seconds of ranking and of the loop (without
imports and building the model, which they do once), the kept models in order, and their errors.
Kept from the published code: `torch.load` of every candidate; the potential soup as a new state
dict, in float32, from the last one; its `load_state_dict`; a full pass over the held-out set for
each by a loader whose workers start anew and decode every JPEG again, in random order; accuracy
compared by a strict >; a ranking in which equal ones come in reverse. Left out: the GPU.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm import create_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler
from torchvision.datasets import ImageFolder
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)


class WithPaths(ImageFolder):
    """An image folder whose examples are dictionaries that name their file."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = super().__getitem__(index)
        return {"images": image, "labels": label, "image_paths": self.samples[index][0]}


def rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def loader(folder: Path, described: dict[str, Any], batch: int, workers: int) -> DataLoader[Any]:
    size = described["image_size"]
    steps = [
        Resize(size, interpolation=InterpolationMode(described["interpolation"])),
        CenterCrop(size),
        rgb,
        ToTensor(),
        Normalize(described["mean"], described["std"]),
    ]
    dataset = WithPaths(str(folder), transform=Compose(steps))
    sampler = SubsetRandomSampler(range(len(dataset)))
    return DataLoader(dataset, batch_size=batch, sampler=sampler, num_workers=workers)


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader[Any]) -> float:
    model.eval()
    right, seen = 0.0, 0.0
    for batch in batches:
        predicted = model(batch["images"]).argmax(dim=1, keepdim=True)
        right += predicted.eq(batch["labels"].view_as(predicted)).sum().item()
        seen += len(batch["labels"])
    return right / seen


def greedy(
    model: nn.Module, batches: DataLoader[Any], cache: Path, scores: dict[str, float]
) -> tuple[list[str], float]:
    """The names kept, in order, and the soup's accuracy."""

    def load(name: str) -> dict[str, Tensor]:
        state: dict[str, Tensor] = torch.load(cache / f"{name}.pt")
        return state

    order = sorted(scores, key=lambda name: scores[name])
    order.reverse()
    kept, best = order[:1], scores[order[0]]
    soup = load(order[0])
    for name in order[1:]:
        new, count = load(name), len(kept)
        potential = {
            key: soup[key].clone() * (count / (count + 1.0))
            + new[key].clone() * (1.0 / (count + 1))
            for key in new
        }
        model.load_state_dict(potential)
        found = accuracy(model, batches)
        if found > best:
            kept.append(name)
            best, soup = found, potential
    return kept, best


def main() -> None:
    cache, count, batch, workers = Path(sys.argv[1]), *map(int, sys.argv[2:])
    described = json.loads((cache / "model.json").read_text())
    classes = len(described["classes"])
    model = create_model(described["model"], num_classes=classes, **described["kwargs"])
    batches = loader(cache / "heldout", described, batch, workers)
    start = time.perf_counter()
    scores = {}
    for index in range(count):
        name = f"model_{index:02}"
        model.load_state_dict(torch.load(cache / f"{name}.pt"))
        scores[name] = accuracy(model, batches)
    ranked = time.perf_counter()
    kept, best = greedy(model, batches, cache, scores)
    done = time.perf_counter()
    examples = len(batches.sampler)  # type: ignore[arg-type]
    answer = {
        "rank": ranked - start,
        "greedy": done - ranked,
        "kept": kept,
        "errors": round((1 - best) * examples),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
