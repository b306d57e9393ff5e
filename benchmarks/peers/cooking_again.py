"""Cook again with another recipe, then evaluate, by the code that is imported.

    python benchmarks/peers/cooking_again.py FOLDER MODEL PIXELS MODELS IMAGES STEP,...

FOLDER gets random pictures of 7 classes (IMAGES on held-out, twice as many on test and on a shift)
and MODELS copies of a model with some noise, which are imported as a finished sweep. The last line
is JSON: for each step, the seconds of cooking with its evaluation, and a digest of the results.
"""

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from soup.config.params import parse
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe
from soup.pipeline.sweep.opening import open_sweep

CLASSES = tuple("abcdefg")
# In the last the answers count as too large for runs to store.
STEPS: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "first": ({"name": "stock"}, None),
    "again": ({"name": "task", "scale": 0.5}, None),
    "large": ({"name": "task", "scale": 0.8}, []),
}


class Silent:
    """A watcher that looks away."""

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def done(self, name: str, message: str) -> None: ...

    def say(self, message: str) -> None: ...


def draw(folder: Path, count: int, pixels: int, seed: int) -> None:
    """Random pictures, so many in all."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        place = folder / CLASSES[index % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
        Image.fromarray(picture).save(place / f"{index:05}.png", compress_level=0)


def checkpoints(folder: Path, model: str, count: int) -> None:
    """Copies of a model of random weights, each with some noise."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    start = timm.create_model(model, num_classes=len(CLASSES)).state_dict()
    save_file(start, folder.parent / "base.safetensors")
    for index in range(count):
        noisy = {
            n: t + 0.02 * t.std(correction=0) * torch.randn_like(t) if t.is_floating_point() else t
            for n, t in start.items()
        }
        save_file(noisy, folder / f"model_{index}.safetensors")


def project(folder: Path, model: str, pixels: int, models: int, images: int) -> dict[str, Any]:
    """Parameters of a project in the folder, whose pictures and models are made."""
    for name, count in (("train", 2 * images), ("test", 2 * images), ("shift", 2 * images)):
        draw(folder / "data" / name, count, pixels, len(name))
    checkpoints(folder / "pool", model, models)
    return {
        "experiment": "again",
        "data": {
            "root": "data",
            "heldout": {"fraction": 0.5},
            "shifts": {"shift": {"folder": "shift"}},
        },
        "base": {
            "model": model,
            "weights": str(folder / "base.safetensors"),
            "head": "keep",
            "image_size": pixels,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "probe": {"max_iterations": 0},
        "sweep": {"runs": models, "import": "pool"},
        "soup": {"include_probe": False, "recalibrate": 64, "compare": ["uniform"]},
        "register": {"model": "again"},
    }


def record(of: Project, name: str, facts: Mapping[str, Any]) -> None:
    (of.out / f"{name}.json").write_text(json.dumps({**facts, "seconds": 1.0}))


def main() -> None:
    folder, model, *numbers, steps = sys.argv[1:]
    root = Path(folder).resolve()
    raw = project(root, model, *map(int, numbers))
    made = Project(root, parse(raw), {"flow_run": "none"})
    made.out.mkdir(parents=True)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(made, name, stage.run(made))
    sweep = open_sweep(made, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(made, "finetune", sweep.close(outcomes))
    answer: dict[str, Any] = {}
    for step in steps.split(","):
        recipe, stored = STEPS[step]
        raw["soup"]["recipe"], raw["evaluate"] = recipe, {"keep_predictions": stored}
        changed = Project(root, parse(raw), {"flow_run": "none"})
        start = time.perf_counter()
        record(changed, "cook", cook.run(changed, step))
        cooked = time.perf_counter()
        evaluate.run(changed, step)
        answer[step] = time.perf_counter() - start
        answer[f"{step}, cook"] = cooked - start
        answer[f"{step}, results"] = hashlib.sha256(
            b"".join((changed.out / f"{n}.csv").read_bytes() for n in ("results", "tests"))
        ).hexdigest()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
