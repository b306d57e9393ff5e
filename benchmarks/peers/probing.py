"""One way of training a linear head on a frozen backbone, in a process of its own.

    python benchmarks/peers/probing.py WAY CACHE EPOCHS BATCH WORKERS THREADS LR PENALTY

CACHE, made by `probe.py`, holds `train/<class>/<image>`, `test/<class>/<image>`, the model in
`start/` and the manifest `development.csv`. `published` is what is usual, as in big_vision's and
timm's recipes with all but the head frozen: each epoch decodes every JPEG in a loader's workers and
passes it through the backbone, without gradients; AdamW on the head, a cosine to zero, no
augmentation, as ours. Ours computes features once, `first`, or finds them in its cache, `again`,
with another penalty. Prints as JSON the seconds, from the files on disk to the trained head, and
the accuracy on test.
"""

import json
import math
import shutil
import sys
import time
from pathlib import Path

import torch
from published_greedy import loader
from torch.nn import functional

from soup.data.loading.examples import as_examples
from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Images
from soup.evaluation.metrics import correct
from soup.evaluation.predict import predict
from soup.models import library, open_model
from soup.models.transforms import image_input
from soup.train.linear_probe import probe


def published(cache: Path, target: Path, epochs: int, batch: int, workers: int, lr: float) -> None:
    architecture, model = open_model(cache / "start")
    described = json.loads((cache / "start" / "model.json").read_text())
    images = loader(cache / "train", described, batch, workers)
    found = library(architecture.library)
    head = found.head(model)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.0)
    steps, step = epochs * len(images), 0
    torch.manual_seed(0)
    for _ in range(epochs):
        for each in images:
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            with torch.no_grad():
                inputs = found.features(model, each["images"])
            optimizer.zero_grad()
            functional.cross_entropy(head(inputs), each["labels"]).backward()
            optimizer.step()
            step += 1
    torch.save(model.state_dict(), target)


def ours(cache: Path, target: Path, batch: int, penalty: float) -> None:
    found = probe(
        penalty,
        200,
        cache / "start",
        cache / "development.csv",
        ImageStore(cache, cache / "images", 8.0),
        cache / "probed",
        "cpu",
        batch,
    )
    _, model = open_model(found.folder)
    torch.save(model.state_dict(), target)


def on_test(cache: Path, weights: Path) -> float:
    architecture, model = open_model(cache / "start")
    model.load_state_dict(torch.load(weights))
    files = [
        (path, label)
        for label, name in enumerate(architecture.classes)
        for path in sorted((cache / "test" / name).iterdir())
    ]
    labels = torch.tensor([label for _, label in files]).numpy()
    images = Images(None, labels, tuple(path for path, _ in files))
    examples = as_examples(images, image_input(architecture))
    return float(correct(predict(model, examples), labels).mean())


def main() -> None:
    way, cache = sys.argv[1], Path(sys.argv[2])
    epochs, batch, workers, threads = map(int, sys.argv[3:7])
    lr, penalty = map(float, sys.argv[7:])
    torch.set_num_threads(threads)
    open_model(cache / "start")  # whose imports are not timed
    target = cache / f"{way}.pt"
    if way == "first":
        shutil.rmtree(cache / "images", ignore_errors=True)
    start = time.perf_counter()
    if way == "published":
        published(cache, target, epochs, batch, workers, lr)
    else:
        ours(cache, target, batch, penalty)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "accuracy": on_test(cache, target)}))


if __name__ == "__main__":
    main()
