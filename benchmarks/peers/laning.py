"""Passes of several models by the code that is imported, in a process that stays.

    python benchmarks/peers/laning.py MODELS

MODELS is JSON: name -> [model of timm, its arguments, pixels, images], whose weights and pictures
are random numbers; or [folder, models], of `mehl_models.py` for example. For each line 'WORK NAME'
of standard input, a line of JSON answers: images a second, a digest of the result, and the peak of
the process's memory so far in MB. The works: `predict`; `evaluate`, where weights are loaded and a
judge counts the errors; `features`; and `forward`, one thread on inputs that are there already, in
the batches of a lane. A folder has `evaluate` alone: the answers of all models, from the files.
"""

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch

from soup import Checkpoint
from soup.cli.heldout_folder import open_evaluator
from soup.data.loading.examples import as_examples
from soup.data.loading.images import Images
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.predict import predict
from soup.models import Architecture
from soup.models.transforms import image_input
from soup.train.features import features

BATCH, CLASSES = 256, tuple("abcdefg")


class Passes:
    """The works of one model."""

    def __init__(self, model: str, kwargs: dict[str, Any], pixels: int, images: int) -> None:
        torch.manual_seed(0)
        self.model = timm.create_model(model, num_classes=len(CLASSES), **kwargs).eval()
        self.architecture = Architecture(
            "timm", model, CLASSES, pixels, (0.5,) * 3, (0.25,) * 3, kwargs=kwargs
        )
        rng = np.random.default_rng(0)
        held = rng.integers(0, 256, (images, pixels, pixels, 3), dtype=np.uint8)
        labels = rng.integers(0, len(CLASSES), images)
        self.examples = as_examples(Images(held, labels, ()), image_input(self.architecture))
        self.weights = {n: t.clone() for n, t in self.model.state_dict().items()}
        evaluator = Evaluator(self.examples, self.architecture, (self.model,), BATCH)
        (self.judge,) = evaluator.judges()

    def predict(self) -> bytes:
        return predict(self.model, self.examples, BATCH).tobytes()

    def evaluate(self) -> bytes:
        return str(self.judge(self.weights)).encode()

    def features(self) -> bytes:
        parts = features(self.model, self.examples, self.architecture, BATCH)
        return np.concatenate([*parts]).tobytes()

    @torch.inference_mode()
    def forward(self) -> bytes:
        from soup.models.lanes import deal  # earlier commits have none

        everything = np.arange(len(self.examples))
        inputs = self.examples.prepare(self.examples.compact(everything))
        size = deal(BATCH, torch.device("cpu"), inputs[0].numel()).size
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self.started = time.perf_counter()
        for batch in inputs.split(size):
            self.model(batch)
        torch.set_num_threads(threads)
        return b""


class Folder:
    """The models of a folder, evaluated on its held-out pictures, which are decoded anew."""

    def __init__(self, folder: str, models: int) -> None:
        self.pictures = Path(folder) / "heldout"
        self.models = [
            Checkpoint(Path(folder) / f"model_{index:02}.safetensors") for index in range(models)
        ]
        self.examples = range(models * len([*self.pictures.glob("*/*.*")]))

    def evaluate(self) -> bytes:
        with (
            tempfile.TemporaryDirectory() as fresh,
            patch("soup.cli.heldout_folder.CACHE", Path(fresh)),
        ):
            evaluator = open_evaluator(self.pictures, None, self.models[0], batch_size=BATCH)
            return b"".join(evaluator.logits(model).tobytes() for model in self.models)


def main() -> None:
    passes: dict[str, Any] = {
        name: (Folder if len(of) == 2 else Passes)(*of)
        for name, of in json.loads(sys.argv[1]).items()
    }
    print("ready", flush=True)
    for line in sys.stdin:
        work, name = line.split()
        one = passes[name]
        compute: Callable[[], bytes] = getattr(one, work)
        one.started = time.perf_counter()
        result = compute()
        seconds = time.perf_counter() - one.started
        answer = {
            "rate": len(one.examples) / seconds,
            "digest": hashlib.sha256(result).hexdigest()[:12],
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
