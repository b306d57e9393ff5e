"""Whether every augmentation that a sweep may draw works on every picture that it is given.

    python -m benchmarks.augmentations        # about 10 minutes on one core
    python -m benchmarks.augmentations --pictures 200 --draws 100

The fine-tunes of the CLIP config (`configs/imagenet_clip_vitb32.yaml`) and draws of `paper-random`
with another seed each augment the same small noisy pictures.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from soup.config.params import Sweep, load
from soup.models import Architecture
from soup.models.transforms import seed_all, training
from soup.pipeline.sweep.sampling import sample
from soup.train.hyperparameters import Hyperparameters

CONFIG = Path(__file__).parents[1] / "configs" / "imagenet_clip_vitb32.yaml"
SIZE = 12  # pixels
GREY = Architecture("timm", "", (), SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pictures(count: int) -> list[Image.Image]:
    """Pictures of several sizes: noise between two values that may be equal, grey or coloured."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        low, high = sorted(rng.integers(0, 256, 2))
        height, width = rng.integers(1, 3 * SIZE, 2)
        pixels = rng.integers(low, high + 1, (height, width, rng.choice([1, 3])), dtype=np.uint8)
        made.append(Image.fromarray(np.broadcast_to(pixels, (height, width, 3)).copy()))
    return made


def failures(point: Hyperparameters, given: list[Image.Image]) -> Counter[str]:
    """How often the augmentation of a fine-tune fails, by the error."""
    transform = training(GREY, point.augment, point.crop, point.flip)
    errors: Counter[str] = Counter()
    for number, picture in enumerate(given):
        seed_all(point.seed % 2**31 + number)
        try:
            assert transform(picture).shape == (3, SIZE, SIZE)
        except Exception as error:
            errors[f"{point.augment}: {type(error).__name__}: {error}"] += 1
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    given = pictures(options.pictures)

    drawn = Sweep.model_validate({"runs": options.draws, "seed": 1, "space": "paper-random"})
    for what, sweep in {"the CLIP config": load(CONFIG).sweep, "paper-random": drawn}.items():
        start, points = time.perf_counter(), sample(sweep)
        errors = sum((failures(point, given) for point in points), Counter[str]())
        seconds = time.perf_counter() - start
        policies = len({point.augment for point in points})
        print(
            f"{what}: {len(points)} fine-tunes of {policies} augmentations, {len(given)} pictures "
            f"each: {errors.total()} errors, {seconds:.0f} s"
        )
        for error, count in errors.most_common(10):
            print(f"  {count} x {error}")


if __name__ == "__main__":
    main()
