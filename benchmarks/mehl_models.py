"""Real fine-tunes for `mehl.py`: EfficientNet-Lite0 on the photographs of PACS at 96 x 96 pixels.

In CACHE come, as `peers/learning.py` takes them: `heldout/`, links to every second training
photograph of each class, which no model is trained on; `model.json`; `start.safetensors`, the
weights of ImageNet with a linear probe; and `model_<i>.safetensors` with the same as `.pt`, each
fine-tuned from there with a learning rate, decay, smoothing and order of images of its own.

BatchNorm statistics are recomputed once, on training photographs of this size, and frozen in the
fine-tunes. So they are constants, averages of models are exact, and the published loop, which knows
parameters only, computes the same as ours.
"""

from itertools import count as count_from
from pathlib import Path

import numpy as np
import torch
from batchnorm import start
from finetunes import decoded, finetuned
from torch import nn

from soup import Checkpoint, save
from soup.models import Architecture, library
from soup.models.batchnorm import layers_of, recalibrate
from soup.models.transforms import image_input, normalise
from soup.train.linear_probe import fit_head
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule

BATCH, EPOCHS = 32, 2
HIGHEST_RATE = 1e-3  # above it a fine-tune loses what the probe has; drawn up to twice as much


def frozen(model: nn.Module) -> nn.Module:
    """The model, whose BatchNorm layers keep their statistics in training too."""
    for layer in layers_of(model).values():
        layer.eval()
        layer.train = lambda _mode=True, layer=layer: layer  # type: ignore[method-assign]
    return model


def make(data: Path, weights: Path, cache: Path, count: int) -> list[Path]:
    """The files of `count` fine-tunes; those that are missing are made.

    Args:
        data: PACS, with a folder `train`.
        weights: the published file of ImageNet's weights.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / f"model_{index:02}.safetensors" for index in range(count)]
    if all(path.exists() for path in paths):
        return paths
    classes = tuple(sorted(folder.name for folder in (data / "train").iterdir()))
    architecture, model = start(weights, classes, cache)
    architecture.save(cache / "model.json")
    for part in ("train", "heldout"):
        for name in classes:
            (cache / part / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((data / "train" / name).iterdir())[part == "heldout" :: 2]:
                link = cache / part / name / path.name
                if not link.exists():
                    link.symlink_to(path.resolve())
    examples = decoded(cache / "train", image_input(architecture).resize)
    probe = cache / "start.safetensors"
    if not probe.exists():
        save(probed(model, architecture, *examples), probe)
    drawn = ((seed, *settings(seed)) for seed in count_from(0))
    usable = (found for found in drawn if found[1] <= HIGHEST_RATE)
    for path, (seed, lr, decay, smoothing) in zip(paths, usable, strict=False):
        if not path.exists():
            steps = EPOCHS * len(examples[1]) // BATCH
            schedule = Schedule(1, steps, lr, warmup=0.1, seed=seed)
            step = StepConfig(weight_decay=decay)
            found = finetuned(
                architecture, Checkpoint(probe), examples, schedule, step, smoothing, BATCH, frozen
            )
            torch.save(found, path.with_suffix(".pt"))
            save(found, path)
            print(path, f"lr {lr:.1e}", flush=True)
    return paths


def settings(seed: int) -> tuple[float, float, float]:
    """Learning rate, weight decay and label smoothing of a fine-tune."""
    rng = np.random.default_rng(seed)
    lr, decay = np.exp(rng.uniform(np.log([2e-4, 1e-3]), np.log([2e-3, 0.1])))
    return float(lr), float(decay), float(rng.choice([0.0, 0.1]))


def probed(
    model: nn.Module, architecture: Architecture, pixels: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The weights with statistics of these photographs, and with a head trained on its own."""
    module = library(architecture.library)
    recalibrate(model, (normalise(part, architecture) for part in pixels.split(64)))
    with torch.inference_mode():
        parts = [module.features(model, normalise(p, architecture)) for p in pixels.split(64)]
    fit_head(torch.cat(parts).clone(), labels, module.head(model), 1e-4, 200)
    return model.state_dict()
