"""Ingredients for a benchmark: short fine-tunes on real photographs, made once into a folder.

From a base model and DATA/train/<class>/<image>.jpg come, in CACHE: `heldout/`, links to the last
images of each class, which no model is trained on; `model.json`; `start.safetensors`, the base with
a head for these classes, trained for a while; and `model_<i>.safetensors` with the same as `.pt`,
fine-tuned from there, each with a learning rate, decay, smoothing and order of images of its own.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from soup import Checkpoint, Weights, save
from soup.config.params import Base
from soup.data.loading.examples import to_tensor
from soup.data.loading.images import in_threads
from soup.models import Architecture, build
from soup.models.timm_init import make_base
from soup.models.transforms import normalise
from soup.train.loop import Batch, fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule

BATCH = 128


def decoded(
    folder: Path, resize: Callable[[Image.Image], Image.Image] = lambda image: image
) -> tuple[Tensor, Tensor]:
    """All images in a folder of class folders, sorted: uint8 (images, 3, height, width), labels."""
    classes = sorted(folder.iterdir())
    files = [(path, label) for label, each in enumerate(classes) for path in sorted(each.iterdir())]
    pixels = _pixels([path for path, _ in files], resize)
    return pixels, torch.tensor([label for _, label in files])


def make(data: Path, base: Path, cache: Path, count: int, heldout: int, steps: int) -> list[Path]:
    """The files of `count` fine-tunes; those that are missing are made.

    Args:
        base: folder of `model.safetensors` and of `model.json` with timm's name and arguments.
        heldout: images of each class that are set aside.
        steps: of each fine-tune; five times as many make the start.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / f"model_{index:02}.safetensors" for index in range(count)]
    if all(path.exists() for path in paths):
        return paths
    folders = sorted((data / "train").iterdir())
    architecture, model = opened(base, tuple(folder.name for folder in folders))
    architecture.save(cache / "model.json")
    train: list[tuple[Path, int]] = []
    for label, folder in enumerate(folders):
        images = sorted(folder.iterdir())
        train += [(path, label) for path in images[:-heldout]]
        (cache / "heldout" / folder.name).mkdir(parents=True, exist_ok=True)
        for path in images[-heldout:]:
            link = cache / "heldout" / folder.name / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    examples = _pixels([path for path, _ in train]), torch.tensor([label for _, label in train])
    start = cache / "start.safetensors"
    if not start.exists():
        plan = _plan(5 * steps, 3e-3, 0.05, seed=1000)
        save(finetuned(architecture, model.state_dict(), examples, *plan, 0.0), start)
    for index, path in enumerate(paths):
        if not path.exists():
            rng = np.random.default_rng(index)
            lr, decay = np.exp(rng.uniform(np.log([5e-4, 1e-3]), np.log([4e-3, 0.1])))
            schedule, method = _plan(steps, lr, decay, seed=index)
            smoothing = float(rng.choice([0.0, 0.1]))
            weights = finetuned(
                architecture, Checkpoint(start), examples, schedule, method, smoothing
            )
            torch.save(weights, path.with_suffix(".pt"))
            save(weights, path)
    return paths


def opened(
    base: Path, classes: tuple[str, ...], size: int | None = None
) -> tuple[Architecture, nn.Module]:
    """The base model with a head of zeros for these classes, for input of its own or another size.

    Args:
        base: folder of `model.safetensors` and of `model.json` with timm's name and arguments.
    """
    described = json.loads((base / "model.json").read_text())
    wanted = Base(
        model=described["name"],
        kwargs=described["kwargs"],
        weights=str(base / "model.safetensors"),
        image_size=size or described["input_size"][1],
        mean=described["mean"],
        std=described["std"],
    )
    return make_base(wanted, classes)


def finetuned(
    architecture: Architecture,
    start: Weights,
    examples: tuple[Tensor, Tensor],
    schedule: Schedule,
    method: StepConfig,
    smoothing: float,
    batch: int = BATCH,
    adapt: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> dict[str, Tensor]:
    """The weights after training on flipped and shifted images.

    Args:
        adapt: changes the model before it is trained.
    """
    pixels, labels = examples

    def batches(_epoch: int, _skip: int) -> Iterator[Batch]:
        rng = np.random.default_rng(schedule.seed)
        for _ in range(schedule.steps):
            chosen = torch.from_numpy(rng.integers(0, len(labels), batch))
            yield normalise(_moved(pixels[chosen], rng), architecture), labels[chosen]

    model = adapt(build(architecture, start))
    fit(model, batches, cross_entropy(smoothing), schedule, method)
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def _plan(steps: int, lr: float, decay: float, seed: int) -> tuple[Schedule, StepConfig]:
    return Schedule(1, steps, float(lr), warmup=0.1, seed=seed), StepConfig(
        weight_decay=float(decay)
    )


def _moved(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """A batch flipped or not, and shifted by up to an eighth of the image."""
    by = pixels.shape[-1] // 8
    y, x = rng.integers(0, 2 * by + 1, 2)
    padded = functional.pad(pixels, (by, by, by, by))
    shifted = padded[..., y : y + pixels.shape[-2], x : x + pixels.shape[-1]]
    flip = torch.from_numpy(rng.random(len(pixels)) < 0.5)
    return torch.where(flip.view(-1, 1, 1, 1), shifted.flip(-1), shifted)


def _pixels(
    paths: list[Path], resize: Callable[[Image.Image], Image.Image] = lambda image: image
) -> Tensor:
    def one(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(resize(image.convert("RGB")))

    return to_tensor(np.stack(in_threads(one, paths)))
