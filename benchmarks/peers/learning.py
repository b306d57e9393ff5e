"""One way of learning a soup, in a process of its own; what `learned.py` times.

    python benchmarks/peers/learning.py WAY CACHE OUT MODELS BATCH EPOCHS WORKERS

Imports what is needed, says "ready", waits for a line, works from the files that `finetunes.py`
made in CACHE to the learned shares, writes the soup to OUT, and prints a line of JSON. All ways see
the same examples in the same batches. `published` is `learned_bylayer.py` of mlfoundations/
model-soups told anew: what it computes and keeps in memory is kept (its models ask for gradients
too, which add up unused), what sends to a GPU is not.
"""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from finetunes import decoded  # noqa: E402  where it is, the lines above say

from soup import Checkpoint, Ingredient, save  # noqa: E402
from soup.evaluation.averaged_logits import AveragedLogits  # noqa: E402
from soup.evaluation.heldout_loss import HeldoutLoss  # noqa: E402
from soup.models import Architecture, build, library  # noqa: E402
from soup.models.transforms import evaluation, image_input, normalise  # noqa: E402
from soup.recipes.learned import LR, Gradients, learn, learned  # noqa: E402
from soup.recipes.mehl import mehl  # noqa: E402
from soup.weights import Weights, materialize  # noqa: E402

LIMIT = 64 * 2**20
FAST = {"epochs": 1, "units": "distance"}
MEHL: dict[str, dict[str, Any]] = {
    "mehl": {},
    "wide": {**FAST, "batch": 128, "lr": 0.05},
    "short": {**FAST, "batch": 64, "lr": 0.03},
    "small": {**FAST, "batch": 32, "lr": 0.02},
}
HALF = {"half", "sooner-half"}  # ways whose model computes in bfloat16
SOONER = {"sooner": 0.4, "sooner-half": 0.4, "soonest": 0.8, "answers": LR}  # rates


@dataclass
class Work:
    """What is to be done, and what was measured: seconds, private memory in MB, shares.

    Attributes:
        reached: seconds from the start to each check of weights, which are beside OUT, numbered.
    """

    cache: Path
    models: int
    batch: int
    epochs: int
    workers: int
    seconds: float = 0.0
    images: float = 0.0
    model: float = 0.0
    steps: int = 0
    start: float = 0.0
    peak: float = 0.0
    beta: float = 1.0
    shares: dict[str, list[float]] = field(default_factory=dict)
    reached: list[float] = field(default_factory=list)

    def paths(self, suffix: str) -> list[Path]:
        return [self.cache / f"model_{index:02}{suffix}" for index in range(self.models)]


class Timed(HeldoutLoss):
    """The objective, with the time it takes."""

    seconds = 0.0
    steps = 0

    def __call__(self, weights: Weights, beta: float, batch: Tensor) -> Gradients:
        started = time.perf_counter()
        slope = super().__call__(weights, beta, batch)
        self.seconds += time.perf_counter() - started
        self.steps += 1
        return slope


class Followed(Timed):
    """The objective, which keeps the weights of each check and the time that led to them.

    Attributes:
        every: if above 0, steps after which weights are kept, in place of checks.
        out: the files of the weights are beside it.
        started: the moment to count from; keeping weights is not counted.
        reached: seconds.
    """

    every = 0
    out: Path
    started: float

    def __call__(self, weights: Weights, beta: float, batch: Tensor) -> Gradients:
        if self.every and self.steps % self.every == 0:
            self._keep(weights)
        return super().__call__(weights, beta, batch)

    def check(self, weights: Weights, beta: float) -> float | None:
        loss = super().check(weights, beta)
        if not self.every:
            self._keep(weights)
        return loss

    def _keep(self, weights: Weights) -> None:
        now = time.perf_counter()
        self.reached.append(now - self.started)
        save(materialize(weights), self.out.with_suffix(f".{len(self.reached)}.safetensors"))
        self.started += time.perf_counter() - now


def ours(work: Work, model: nn.Module, architecture: Architecture, way: str) -> Weights:
    """`ours` holds all models as a matrix, `limited` 64 MiB of them; `half` computes in bfloat16;
    `checked` is what a user gets by default: shares by layer, and a part only to check; the ways of
    MEHL are free shares by the other recipe, with a part to check, and times of the checks; those
    of SOONER have a higher rate, and times of every second step."""
    started = time.perf_counter()
    pixels, labels = decoded(work.cache / "heldout", image_input(architecture).resize)
    work.images = time.perf_counter() - started
    objective = (Followed if way in MEHL or way in SOONER else Timed)(
        model,
        pixels,
        labels,
        prepare=lambda batch: normalise(batch, architecture),
        checked=0.2 if way == "checked" or way in MEHL else 0.0,
        batch_size=work.batch,
        autocast=torch.bfloat16 if way in HALF else None,
    )
    files = [Checkpoint(path) for path in work.paths(".safetensors")]
    pool = [Ingredient(str(index), file, math.nan) for index, file in enumerate(files)]
    if isinstance(objective, Followed):
        objective.every = 2 if way in SOONER else 0
        objective.started, objective.reached = started, work.reached
        objective.out = work.cache / f"soup-{way}-{work.models}.safetensors"
    if way in MEHL or way == "checked":
        if way in MEHL:
            soup = mehl(pool, objective, **MEHL[way])
        else:
            soup = learned(pool, objective, epochs=work.epochs)
        work.seconds = time.perf_counter() - started
        work.model, work.steps = objective.seconds, objective.steps
        return soup.weights
    memory = LIMIT if way == "limited" else math.inf
    lr, answers = SOONER.get(way, LR), None
    if way == "answers":
        with np.load(work.cache / "answers.npz") as kept:
            logits = {one.name: kept[one.name] for one in pool}
        answers = AveragedLogits(logits, labels.numpy(), lambda _logits, _labels: math.nan)
    found = learn(pool, objective, "tensor", work.epochs, lr, memory=memory, answers=answers)
    work.seconds = time.perf_counter() - started
    work.model, work.steps, work.beta = objective.seconds, objective.steps, found.beta
    work.shares = {n: list(found.shares[group].values()) for n, group in found.groups.items()}
    return {
        name: sum(s * file[name] for s, file in zip(shares, files, strict=True))
        for name, shares in work.shares.items()
    }


class Photographs(torch.utils.data.Dataset[dict[str, object]]):
    """An image folder whose examples are dictionaries, decoded and resized at every visit."""

    def __init__(self, folder: Path, architecture: Architecture) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import Compose, Normalize, ToTensor

        resize, _ = evaluation(architecture)
        to_input = Compose([resize, ToTensor(), Normalize(architecture.mean, architecture.std)])
        self.files = ImageFolder(str(folder), to_input)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, object]:
        image, label = self.files[index]
        return {"images": image, "labels": label, "image_paths": self.files.samples[index][0]}


class Order:
    """Our batches, for a loader: the next epoch's each time it begins anew."""

    def __init__(self, examples: int, batch: int) -> None:
        nothing = torch.zeros(examples, 1)
        self._ours = HeldoutLoss(nn.Linear(1, 1), nothing, nothing, checked=0.0, batch_size=batch)
        self._epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        yield from (batch.tolist() for batch in self._ours.batches(self._epoch))
        self._epoch += 1


def published(work: Work, model: nn.Module, architecture: Architecture, _way: str) -> Weights:
    """A graph over all models in every step, and an image loader in every epoch."""
    started = time.perf_counter()
    states = [torch.load(path, map_location="cpu") for path in work.paths(".pt")]
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(states[0])  # buffers, which are the same in all models
    models = [tuple(s[name].detach().requires_grad_() for name in names) for s in states]
    photographs = Photographs(work.cache / "heldout", architecture)
    loader = torch.utils.data.DataLoader(
        photographs, batch_sampler=Order(len(photographs), work.batch), num_workers=work.workers
    )
    raw = nn.Parameter(torch.ones(len(names), work.models).softmax(1))
    beta = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.AdamW([raw, beta], lr=0.05, weight_decay=0.0)

    def mixed() -> tuple[Tensor, ...]:
        alpha = raw.softmax(1)
        return tuple(
            sum(tuple(tensor * share for tensor, share in zip(tensors, alpha[row], strict=True)))
            for row, tensors in enumerate(zip(*models, strict=True))
        )

    for _ in range(work.epochs):
        waited = time.perf_counter()
        for batch in loader:
            work.images += time.perf_counter() - waited
            optimizer.zero_grad()
            weights = mixed()
            # Backward begins with what was made last: at the last of the sums, the model is done.
            done: list[float] = []
            weights[-1].register_hook(lambda _, done=done: done.append(time.perf_counter()))
            began = time.perf_counter()
            outputs = beta * functional_call(
                model, dict(zip(names, weights, strict=True)), (batch["images"],)
            )
            functional.cross_entropy(outputs, batch["labels"]).backward()
            work.model += done[0] - began
            optimizer.step()
            work.steps += 1
            waited = time.perf_counter()
    work.seconds = time.perf_counter() - started
    work.beta = beta.item()
    work.shares = dict(zip(names, raw.softmax(1).tolist(), strict=True))
    with torch.no_grad():
        return {**states[0], **dict(zip(names, mixed(), strict=True))}


def private() -> float:
    """This process's anonymous memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


def prepared(way: str, work: Work) -> Callable[[Path], None]:
    """All that is not timed; what it returns does the work and writes the soup."""
    architecture = Architecture.load(work.cache / "model.json")
    theirs = way == "published"
    model = library("timm").build(architecture).eval() if theirs else build(architecture)

    def run(out: Path) -> None:
        work.start = private()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                work.peak = max(work.peak, private())

        watcher = threading.Thread(target=watch)
        watcher.start()
        soup = (published if theirs else ours)(work, model, architecture, way)
        over.set()
        watcher.join()
        save(soup, out)

    return run


def main() -> None:
    way, cache, out, *numbers = sys.argv[1:]
    work = Work(Path(cache), *map(int, numbers))
    run = prepared(way, work)
    print("ready", flush=True)
    sys.stdin.readline()
    run(Path(out))
    print(json.dumps(asdict(work), default=str))


if __name__ == "__main__":
    main()
