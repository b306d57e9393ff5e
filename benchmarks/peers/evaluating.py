"""One way of evaluating a model again on images in folders, in a process of its own.

    python benchmarks/peers/evaluating.py WAY CACHE BATCH WORKERS THREADS

CACHE, made by `evaluate.py`, holds `test/<class>/<image>`, `model.json` and `model.safetensors`.
The first evaluation is not timed: it fills the system's cache of files, and ours. `published` is
the loop of mlfoundations/model-soups: a loader whose workers decode each JPEG, resize, crop and
normalise it, and a forward pass a batch. Ours reads the split's manifest, maps the decoded images,
and is timed from there. Prints as JSON the seconds, images, and the accuracy.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from published_greedy import accuracy, loader

from soup.data.loading.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.sources.folders import check, scan
from soup.data.split.manifest import Manifest, Row
from soup.evaluation.metrics import correct
from soup.evaluation.predict import predict
from soup.models import Architecture, open_model
from soup.models.transforms import image_input


def published(cache: Path, batch: int, workers: int) -> Callable[[], float]:
    described = json.loads((cache / "model.json").read_text())
    architecture, model = open_model(cache)
    assert architecture.crop_pct == 1.0  # which the published transform leaves out
    return lambda: accuracy(model, loader(cache / "test", described, batch, workers))


def ours(cache: Path, batch: int) -> Callable[[], float]:
    architecture, model = open_model(cache)
    manifest = cache / "evaluation.csv"
    if not manifest.exists():
        good, _ = check(cache, scan(cache, "test")[0], "decode")
        rows = [Row(f.path, f.label, "test", content) for f, content, _ in good]
        manifest.write_text(Manifest(tuple(rows)).to_csv())

    def evaluate() -> float:
        split, store = Manifest.load(manifest), ImageStore(cache, cache / "images", 8.0)
        images = examples(store, split.rows, split.classes, image_input(architecture))
        return float(correct(predict(model, images, batch), images.labels).mean())

    return evaluate


def forward(cache: Path, batch: int) -> Callable[[], float]:
    """The model alone, on numbers that are there already: what no way can do without."""
    architecture, model = open_model(cache)
    count = sum(1 for _ in (cache / "test").rglob("*.*"))
    size = Architecture.load(cache / "model.json").image_size
    pixels = torch.zeros(batch, 3, size, size).to(memory_format=torch.channels_last)

    def run() -> float:
        with torch.inference_mode():
            for start in range(0, count, batch):
                model(pixels[: min(batch, count - start)])
        return 1 / len(architecture.classes)

    return run


def main() -> None:
    way, cache = sys.argv[1], Path(sys.argv[2])
    batch, workers, threads = map(int, sys.argv[3:])
    torch.set_num_threads(threads)
    ways = {
        "published": lambda: published(cache, batch, workers),
        "ours": lambda: ours(cache, batch),
        "forward": lambda: forward(cache, batch),
    }
    evaluate = ways[way]()
    evaluate()
    start = time.perf_counter()
    score = evaluate()
    print(json.dumps({"seconds": time.perf_counter() - start, "accuracy": score}))


if __name__ == "__main__":
    main()
