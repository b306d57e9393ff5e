"""What each study holds in memory: 72 generated fine-tunes of ViT-B/32, few examples.

    python benchmarks/study_memory.py --width 768 --studies angle landscape

The fine-tunes are made when they are read, from one start and a pattern of their own, so that no
disk is needed. Every study of one sweep runs in a process of its own, with the options below:
they bound its time, and not what it holds. Memory is private (anonymous), above what the process
held before the study: the libraries, the network, and the start (two models more). It is told in
models; our limit is 4 of all. Studies that cook a greedy soup read thousands of models, and take
minutes; a smaller --width has as many models, and relatively larger activations. The passes are
real ones, in the pipeline's own predictor.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

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
from soup.models.building import build
from soup.pipeline.study_bench import Predictor
from soup.studies import study_of
from soup.studies.bench import Bench
from soup.studies.kept import Kept
from soup.studies.model import Model
from soup.weights.mapping import LazyWeights, specs

FINE_TUNES, EXAMPLES, CLASSES, SIZE = 72, 20, 10, 224
OPTIONS = {
    "landscape": {"points": 3},
    "angle": {"pairs": 3},
    "soup-ensemble": {"pairs": 2},
    "large-rates": {"points": 3, "models": [f"ft-{n:03}" for n in range(4)]},
    "wise-ft": {"points": 3},
    "calibration": {},
    "hyperparameters": {},
    "averages": {},
    "number-of-models": {"orders": 1},
}


class Generated(LazyWeights):
    """A fine-tune that is made when it is read: the start, and itself shifted by some places."""

    def __init__(self, start: dict[str, Tensor], number: int) -> None:
        self._start, self._number, self.specs = start, number, specs(start)

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._start[name]
        moved = tensor.flatten().roll(self._number + 1).view_as(tensor)
        return torch.lerp(tensor, moved, 0.02 + 0.001 * self._number)


@dataclass(frozen=True)
class Noise:
    """Pictures of noise, as `soup.evaluation.examples.Examples`."""

    digest: str
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def groups(self, _indices: NDArray[np.int64], _size: int) -> None:
        return None

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        generator = torch.Generator().manual_seed(len(self.digest))
        pictures = torch.randn(len(self), 3, SIZE, SIZE, generator=generator)
        return pictures[torch.from_numpy(indices)]

    def prepare(self, compact: Tensor, /) -> Tensor:
        return compact


def bench(folder: Path, width: int) -> Bench:
    """A sweep of generated fine-tunes that differ in seed, rate and kind of average."""
    torch.manual_seed(0)
    heads = max(1, width // 64)
    kwargs = {"embed_dim": width, "num_heads": heads}
    architecture = Architecture(
        "timm", "vit_base_patch32_224", tuple(map(str, range(CLASSES))), SIZE, kwargs=kwargs
    )
    model = build(architecture)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = [f"ft-{number:03}" for number in range(FINE_TUNES - 12)]
    names += [f"ft-{number:03}-ema-0.99" for number in range(12)]
    models = {"probe": Model("probe", start, of_value("probe"))}
    for number, name in enumerate(names):
        settings = {"lr": [1e-5, 3e-5, 1e-4][number % 3], "seed": number // 3, "augment": "none"}
        models[name] = Model(name, Generated(start, number), of_value(name), settings)
    labels = np.arange(EXAMPLES) % CLASSES
    sets = {name: Noise(name, labels) for name in ("train", "heldout", "test", "sketch", "art")}
    return Bench(
        models=models,
        base="probe",
        ranked=names,
        candidates=names,
        sets=sets,
        targets={name: among_present(name, labels) for name in sets},
        shifts=["sketch", "art"],
        architecture=architecture,
        predict=Predictor(model, architecture.model, EXAMPLES, bf16=False, recalibration=None),
        kept=Kept(folder, AnswerStore(folder / "answers")),
    )


def measured(name: str, width: int) -> None:
    """Run one study here, and print its seconds and its memory in models."""
    import os

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        opened = bench(Path(folder), width)
        size = sum(t.numel() * 4 for t in opened.models["probe"].weights.values()) / 1e6
        before = peak = private(os.getpid())
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, private(os.getpid()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.perf_counter()
        study_of(name).run(opened, StudyOptions.model_validate(OPTIONS[name]))
        seconds = time.perf_counter() - begun
        done.set()
        watcher.join()
    above = peak - before
    print(f"| {name} | {size:.0f} | {above:.0f} | {above / size:.1f} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=768, help="of the ViT; ViT-B/32 has 768")
    parser.add_argument("--studies", nargs="+", choices=OPTIONS, default=[*OPTIONS])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        measured(given.studies[0], given.width)
        return
    print(machine())
    print("| study | a model, MB | above the start, MB | models | seconds |")
    print("|---|--:|--:|--:|--:|", flush=True)
    for name in given.studies:
        command = [sys.executable, __file__, "--here", "--width", str(given.width)]
        subprocess.run([*command, "--studies", name], check=True)


if __name__ == "__main__":
    main()
