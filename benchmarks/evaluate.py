"""A second evaluation of the same images: ours beside the published loop, and the model alone.

    .venv/bin/python benchmarks/evaluate.py --data data/cifar10 --base data/base-tinyimagenet
    .venv/bin/python benchmarks/evaluate.py --data data/cifar10 --base data/base-tinyimagenet \
        --photo 500 --size 64

Each way in a process of its own (`peers/evaluating.py`), in turns, the fastest round of each. The
published loop decodes every JPEG again; ours maps what it decoded the first time. How much that is
worth depends on what the model costs beside it: the third line is the forward pass alone, which is
the least that any way takes. Photographs of CIFAR-10 are 32 x 32; with --photo they are written
anew, that many pixels wide, as JPEG, so that decoding and resizing cost what they do with
photographs of that size. The head is random, with --model all
weights are: the accuracy only shows that both ways give the same answers.
"""

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from finetunes import opened
from machine import machine
from PIL import Image
from programs import answer
from torch import nn

from soup import save
from soup.config.params import Base
from soup.models import Architecture, timm_models

PEER = Path(__file__).parent / "peers" / "evaluating.py"
WAYS = {
    "published": "published loop",
    "ours": "ours",
    "forward": "the forward pass alone",
}


def set_up(
    data: Path, base: Path, cache: Path, images: int, size: int, model: str, photo: int
) -> Path:
    """A folder of test images of each class and a model; its name says of what."""
    name = f"{data.resolve()} {base.resolve()} {images} {size} {model} {photo}"
    folder = cache / hashlib.sha256(name.encode()).hexdigest()[:12]
    if (folder / "model.safetensors").exists():
        return folder
    classes = sorted(each for each in (data / "test").iterdir() if each.is_dir())
    for each in classes:
        (folder / "test" / each.name).mkdir(parents=True, exist_ok=True)
        for path in sorted(each.iterdir())[:images]:
            target = folder / "test" / each.name / path.name
            if photo:
                with Image.open(path) as image:
                    large = image.resize((photo, photo * 3 // 4), Image.Resampling.BICUBIC)
                    large.convert("RGB").save(target.with_suffix(".jpg"), quality=90)
            elif not target.exists():
                target.symlink_to(path.resolve())
    names = tuple(each.name for each in classes)
    architecture, built = described(base, model, size, names)
    architecture.save(folder / "model.json")
    save(built.state_dict(), folder / "model.safetensors")
    return folder


def described(
    base: Path, name: str, size: int, classes: tuple[str, ...]
) -> tuple[Architecture, nn.Module]:
    """The base, or any model of timm, with random numbers for what is not known."""
    torch.manual_seed(0)
    if name:
        made = timm_models.create(name, {}, len(classes))
        own = timm_models.describe(Base(model=name), classes, made)
        wanted = Base(model=name, image_size=size or own.image_size)
        architecture = timm_models.describe(wanted, classes, made)
    else:
        architecture, made = opened(base, classes, size or None)
    nn.init.normal_(timm_models.head(made).weight)
    return architecture, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="holds test/<class>/<image>.jpg")
    parser.add_argument("--base", type=Path, required=True, help="model.json, model.safetensors")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/evaluate"))
    parser.add_argument("--images", type=int, default=300, help="of each class")
    parser.add_argument("--model", default="", help="a name of timm's, instead of the base")
    parser.add_argument("--size", type=int, default=0, help="of the input; default: the model's")
    parser.add_argument("--photo", type=int, default=0, help="width to write photographs anew with")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2, help="of the published loader")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(machine())
    folder = set_up(
        *(given.data, given.base, given.cache, given.images, given.size, given.model, given.photo)
    )
    turns: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, found in turns.items():
            found.append(answer(PEER, way, folder, given.batch, given.workers, given.threads))
    count = sum(1 for _ in (folder / "test").rglob("*.*"))
    best = {way: min(each["seconds"] for each in found) for way, found in turns.items()}
    scores = {way: turns[way][0]["accuracy"] for way in ("published", "ours")}
    rows = [
        {
            "way": told,
            "seconds": best[way],
            "images a second": count / best[way],
            "faster by": best["published"] / best[way],
        }
        for way, told in WAYS.items()
    ]
    architecture = Architecture.load(folder / "model.json")
    wide = given.photo or "as they are"
    print(
        f"\n{count} photographs (width: {wide}), {architecture.model} at {architecture.image_size}"
        f" pixels; {given.rounds} rounds, the fastest of each way"
    )
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))
    print(f"accuracy: published {scores['published']:.4f}, ours {scores['ours']:.4f}")


if __name__ == "__main__":
    main()
