"""Small things to test with: image folders, a tiny timm model, a tiny CLIP, a job."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from soup.config.data import Data, HeldOut
from soup.data.loading.image_store import ImageStore
from soup.data.split.prepare import prepare
from soup.models import Architecture, build, write_description
from soup.train.finetune import Job
from soup.train.hyperparameters import Hyperparameters
from soup.weights.checkpoint import save

# Tiny tensors gain nothing from more, and threads wait for each other on a busy machine.
torch.set_num_threads(1)

MODEL = "resnet10t"
KWARGS = {"channels": [8, 8, 8, 8], "stem_width": 8, "norm_layer": "groupnorm1"}
COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def picture(colour: tuple[int, int, int], seed: int, size: tuple[int, int]) -> Image.Image:
    """A noisy patch of one colour, (width, height)."""
    noise = np.random.default_rng(seed).integers(-40, 41, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8))


def draw(
    folder: Path,
    counts: Mapping[str, int],
    size: tuple[int, int] = (20, 20),
    first: int = 0,
    suffix: str = "png",
) -> None:
    """`counts` images of each class, numbered from `first`."""
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(name, (90, 30 * place % 255, 120))
        for number in range(first, first + count):
            seed = 1000 * place + number
            picture(colour, seed, size).save(folder / name / f"{number:03d}.{suffix}")


def world(root: Path, train: int = 12, test: int = 4, **options: Any) -> Data:
    """Train and test of three classes, and what `prepare` needs to know of them."""
    draw(root / "train", dict.fromkeys(COLOURS, train))
    draw(root / "test", dict.fromkeys(COLOURS, test), first=500)
    return Data(root=str(root), **{"heldout": HeldOut(fraction=0.25), **options})


def image_store(root: Path, cache: str = "cache", limit_gib: float = 8.0) -> ImageStore:
    """The images below `root`, and a cache beside them."""
    return ImageStore(root, root / cache, limit_gib)


def silent(step: int, metrics: Mapping[str, float]) -> None:
    """A log that nobody reads."""


def architecture(size: int = 20, classes: tuple[str, ...] = tuple(COLOURS)) -> Architecture:
    return Architecture(
        library="timm",
        model=MODEL,
        kwargs=KWARGS,
        classes=classes,
        image_size=size,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def tiny(seed: int = 0, size: int = 20, **kwargs: Any) -> tuple[Architecture, nn.Module]:
    """A random timm classifier of the three colours."""
    torch.manual_seed(seed)
    made = architecture(size)
    made = Architecture(**{**vars(made), "kwargs": {**KWARGS, **kwargs}})
    return made, build(made)


def put(folder: Path, made: tuple[Architecture, nn.Module]) -> Path:
    """Write a model as a stage does."""
    write_description(made[0], folder)
    save(made[1].state_dict(), folder / "model.safetensors")
    return folder


def job(root: Path, options: Mapping[str, Any], **hyperparameters: Any) -> Job:
    """A fine-tune of the tiny model on the images below `root`; `options` are fields of the job or
    settings that all fine-tunes of a sweep share.

    The images must be there; manifest and start are written if they are not.
    """
    manifest, start = root / "development.csv", root / "start"
    if not manifest.exists():
        data = Data(root=str(root), heldout=HeldOut(fraction=0.25))
        manifest.write_text(prepare(data, root).development.to_csv())
    if not start.exists():
        put(start, tiny())
    chosen = {"lr": 5e-3, "weight_decay": 0.01, "epochs": 2, "seed": 3}
    chosen |= {"batch_size": 8, "warmup": 0.1, "crop": 0.6, **hyperparameters}
    fixed: dict[str, Any] = {
        "start": start,
        "development": manifest,
        "root": root,
        "folder": root / "run",
        "cache": root / "cache",
        "cache_gib": 1.0,
        "devices": ("cpu",),
        "threads": 1,
        "eval_batch_size": 64,
    }
    jobs = {field.name for field in fields(Job)}
    for name, value in options.items():
        (fixed if name in jobs else chosen)[name] = value
    return Job(hyperparameters=Hyperparameters(**chosen), **fixed)


CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}


def tiny_clip(folder: Path, seed: int = 0) -> tuple[str, str]:
    """A tiny CLIP of random weights: the paths of its config and of its checkpoint."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "tiny-clip-for-tests.json"
    config.write_text(json.dumps(CLIP))
    open_clip.add_model_config(config)
    torch.manual_seed(seed)
    model = open_clip.create_model(config.stem)
    model.logit_scale.data.fill_(3.0)
    weights = folder / "clip.safetensors"
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, str(weights))
    return str(config), str(weights)
