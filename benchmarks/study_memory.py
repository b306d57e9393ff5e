"""What each study holds in memory: 72 generated fine-tunes of ViT-B/32, few examples.

    python benchmarks/study_memory.py --studies angle distillation
    python benchmarks/study_memory.py --fine-tunes 8

The fine-tunes are made when they are read, from the file of one start and a pattern of their own,
so that they need no disk. Every study runs in a process of its own, with the options below, which
bound its time and not what it holds. Memory is private (anonymous), above what the process holds
once the libraries are loaded: the network of the passes counts. It is told in models; our limit is
4 of all. The passes are real ones, in the pipeline's own predictor, and the distilled model is
trained as the pipeline trains it. All 72 take many minutes, as greedy soups read thousands of
models. Fewer --fine-tunes are quicker; at a smaller --width activations are relatively larger.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from average import private
from machine import machine
from numpy.typing import NDArray
from torch import Tensor

from soup.config.studies import StudyOptions
from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.targets import among_present
from soup.files import of_value
from soup.models import Architecture
from soup.models.building import build, library
from soup.pipeline.study_bench import Predictor
from soup.pipeline.study_others import Transplanted
from soup.pipeline.study_student import Students
from soup.studies import study_of
from soup.studies.bench import Bench
from soup.studies.kept import Kept
from soup.studies.model import Model
from soup.studies.other_data import ZERO_SHOT
from soup.studies.study import BASE
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.mapping import LazyWeights, Reader, Spec

FINE_TUNES, EXAMPLES, CLASSES, SIZE = 72, 12, 10, 32
OTHERS = 6  # fine-tunes on other data: those of the paper
OPTIONS: dict[str, dict[str, Any]] = {
    "landscape": {"points": 3},
    "angle": {"pairs": 100},  # which have nearly all of the models
    "soup-ensemble": {"pairs": 2},
    "large-rates": {"points": 3},
    "wise-ft": {"points": 3},
    "calibration": {},
    "hyperparameters": {},
    "averages": {},
    "number-of-models": {"orders": 1},
    "distillation": {},
    "weak-pretraining": {},
    "other-data": {},
}


class Generated(LazyWeights):
    """A fine-tune that is made when it is read: the start and itself some places on, averaged."""

    def __init__(self, start: Mapping[str, Tensor], specs: Mapping[str, Spec], number: int) -> None:
        """
        Args:
            start: mapped from a file, so that its pages are the system's.
        """
        self._start, self._number, self.specs = start, number, specs

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        return self.reader(name)(0, math.prod(spec.shape)).view(spec.shape)

    def reader(self, name: str) -> Reader:
        flat = self._start[name].flatten()

        def read(first: int, last: int) -> Tensor:
            begin = (first + self._number + 1) % len(flat)
            moved = flat[begin : begin + last - first]
            if len(moved) < last - first:
                moved = torch.cat([moved, flat[: last - first - len(moved)]])
            return torch.lerp(flat[first:last], moved, 0.5)

        return read


@dataclass(frozen=True)
class Noise:
    """Pictures of noise, as `soup.evaluation.examples.Examples`."""

    digest: str
    labels: NDArray[np.int64]
    size: int

    def __len__(self) -> int:
        return len(self.labels)

    def groups(self, _indices: NDArray[np.int64], _size: int) -> None:
        return None

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        for start in range(0, len(indices), size):
            yield self.compact(indices[start : start + size]).to(device)

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        generator = torch.Generator().manual_seed(len(self.digest))
        pictures = torch.randn(len(self), 3, self.size, self.size, generator=generator)
        return pictures[torch.from_numpy(indices)]

    def prepare(self, compact: Tensor, /) -> Tensor:
        return compact


def bench(
    folder: Path, study: str, size: int = SIZE, fine_tunes: int = FINE_TUNES, **kwargs: int
) -> Bench:
    """The sweep that a study takes: fine-tunes that differ in seed, rate and kind of average.

    Args:
        size: of the pictures, in pixels.
        kwargs: of timm, that shape the vision transformer.
    """
    opened = _sweep(folder / "sweep", size, fine_tunes, max(2, fine_tunes // 6), kwargs)
    if study == "weak-pretraining":
        opened.others = {"weaker": _sweep(folder / "weaker", size, fine_tunes, 0, kwargs)}
    if study == "other-data":
        head = {name: opened.models[BASE].weights[name] for name in ("head.weight", "head.bias")}
        of_others = dict(zip([ZERO_SHOT, *opened.ranked], opened.models.values(), strict=True))
        for name in [ZERO_SHOT, *opened.ranked[:OTHERS]]:
            weights = of_others[name].weights
            assert isinstance(weights, LazyWeights)
            opened.models[name] = Model(name, Transplanted(weights, head), f"transplanted {name}")
        opened.others = dict.fromkeys(opened.ranked[:OTHERS], opened)
    return opened


def _sweep(
    folder: Path, size: int, fine_tunes: int, averages: int, kwargs: Mapping[str, int]
) -> Bench:
    torch.manual_seed(0)
    classes, shape = tuple(map(str, range(CLASSES))), {"img_size": size, **kwargs}
    architecture = Architecture("timm", "vit_base_patch32_224", classes, size, kwargs=shape)
    network = build(architecture)
    save(network.state_dict(), folder / "start.safetensors")
    start = Checkpoint(folder / "start.safetensors")
    labels = np.arange(EXAMPLES) % CLASSES
    names = [f"ft-{number:03}" for number in range(fine_tunes - averages)]
    names += [f"ft-{number:03}-ema-0.99" for number in range(averages)]
    mapped = {name: start[name] for name in start}
    models = {BASE: Model(BASE, start, of_value(BASE))}
    for number, name in enumerate(names):
        settings = {"lr": [1e-5, 3e-5, 1e-4][number % 3], "seed": number // 3, "augment": "none"}
        settings |= {"epochs": 1, "batch_size": 4}
        weights, kept = Generated(mapped, start.specs, number), partial(_heldout, labels, number)
        models[name] = Model(name, weights, of_value(name), settings, kept)
    predictor = Predictor(network, architecture.model, EXAMPLES, bf16=False, recalibration=None)
    sets = {name: Noise(name, labels, size) for name in ("train", "heldout", "test", "sketch")}
    return Bench(
        models=models,
        base=BASE,
        ranked=names,
        candidates=names,
        sets=sets,
        targets={name: among_present(name, labels) for name in sets},
        shifts=["sketch"],
        architecture=architecture,
        predict=predictor,
        kept=Kept(folder, AnswerStore(folder / "answers")),
        teach=Students(folder / "students", predictor.lend, lambda: start),
    )


def _heldout(labels: NDArray[np.int64], number: int) -> NDArray[np.float16]:
    """The held-out logits that the pipeline keeps with a model.

    The first is right on all, and others on few: greedy soups then stay small, and quick.
    """
    if number == 0:
        return np.eye(CLASSES, dtype=np.float16)[labels]
    return np.random.default_rng(number).normal(size=(len(labels), CLASSES)).astype(np.float16)


def measured(name: str, width: int, fine_tunes: int) -> None:
    """Run one study here, and print its seconds and its memory in models."""
    torch.set_num_threads(1)
    library("timm")
    study = study_of(name)
    before = peak = private(os.getpid())
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, private(os.getpid()))

    with tempfile.TemporaryDirectory() as folder:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            shape = {"embed_dim": width, "num_heads": max(1, width // 64)}
            opened = bench(Path(folder), name, fine_tunes=fine_tunes, **shape)
            begun = time.perf_counter()
            study.run(opened, StudyOptions.model_validate(OPTIONS[name]))
            seconds = time.perf_counter() - begun
        finally:
            done.set()
            watcher.join()
        size = sum(t.nbytes for t in opened.models[BASE].weights.values()) / 1e6
    above = peak - before
    print(f"| {name} | {size:.0f} | {above:.0f} | {above / size:.2f} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=768, help="of the ViT; ViT-B/32 has 768")
    parser.add_argument("--fine-tunes", type=int, default=FINE_TUNES, help="at least 6")
    parser.add_argument("--studies", nargs="+", choices=OPTIONS, default=[*OPTIONS])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        measured(given.studies[0], given.width, given.fine_tunes)
        return
    print(machine())
    print("| study | a model, MB | held, MB | models | seconds |")
    print("|---|--:|--:|--:|--:|", flush=True)
    for name in given.studies:
        shape = ["--width", str(given.width), "--fine-tunes", str(given.fine_tunes)]
        command = [sys.executable, __file__, "--here", *shape, "--studies", name]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
