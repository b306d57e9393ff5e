"""Tiny sweeps that are generated: what studies are tested on, without a pipeline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.evaluation.targets import among_present
from soup.studies.bench import Bench
from soup.studies.kept import Kept
from soup.studies.model import Model
from soup.studies.point import Point
from soup.weights import Weights
from tests import worlds

CLASSES, INPUTS = 3, 4
RATES = (0.02, 0.05, 0.1, 0.1)


@dataclass(frozen=True)
class Numbers:
    """Labelled vectors, as `soup.evaluation.examples.Examples`."""

    inputs: Tensor
    labels: Any
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def groups(self, indices: Any, size: int) -> None:
        return None

    def batches(self, indices: Any, size: int, device: torch.device) -> Iterator[Tensor]:
        yield from self.inputs[torch.from_numpy(indices)].split(size)

    def compact(self, indices: Any) -> Tensor:
        return self.inputs[torch.from_numpy(indices)]

    def prepare(self, compact: Tensor, /) -> Tensor:
        return compact


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def numbers(name: str, count: int, seed: int, moved: float = 0.0) -> Numbers:
    """Vectors around the centre of their class; `moved`: how far a shift moves them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLASSES, INPUTS))
    labels = rng.integers(CLASSES, size=count)
    inputs = centres[labels] + rng.normal(size=(count, INPUTS)) + moved
    return Numbers(torch.tensor(inputs, dtype=torch.float32), labels, f"{name}-{count}-{seed}")


def trained(
    start: Weights, train: Numbers, lr: float, seed: int, steps: int = 30, noise: float = 0.0
) -> dict[str, Tensor]:
    """Weights after some steps of gradient descent on batches that the seed draws.

    Args:
        noise: added to the inputs, as an augmentation.
    """
    model = network()
    model.load_state_dict(dict(start))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(train), (16,), generator=generator)
        labels = torch.from_numpy(train.labels)[rows]
        optimizer.zero_grad()
        inputs = train.inputs[rows]
        inputs = inputs + noise * torch.randn(inputs.shape, generator=generator)
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@dataclass
class Predictions:
    """Makes the passes of a bench, counts them, and stops when it is told to."""

    passes: int = 0
    stop_after: float = float("inf")

    def __call__(self, weights: Weights, examples: Examples, combined: bool) -> Logits:
        if self.passes >= self.stop_after:
            raise KeyboardInterrupt
        self.passes += 1
        model = network()
        model.load_state_dict(dict(weights))
        return predict(model, examples)


def settings(runs: int) -> list[dict[str, Any]]:
    """Hyperparameters: pairs of runs that differ in seed, rate or augmentation alone, or in all."""
    return [
        {
            "lr": RATES[index % len(RATES)],
            "seed": index // 2,
            "augment": "minimal" if index % 3 else "rand-m5-n2",
        }
        for index in range(runs)
    ]


def sweep(
    folder: Path,
    runs: int = 4,
    shifts: int = 2,
    images: int | None = None,
    predictions: Callable[..., Logits] | None = None,
    given: list[dict[str, Any]] | None = None,
    steps: int = 30,
) -> Bench:
    """A sweep of fine-tunes ft-000, ft-001, ... from "probe".

    Args:
        given: the hyperparameters of each run (lr, seed, ...); default: `settings`.
    """
    torch.manual_seed(0)
    sets = {
        "train": numbers("train", 96, 1),
        "heldout": numbers("heldout", 60, 2),
        "test": numbers("test", 75, 3),
        **{
            f"shift{i}": numbers(f"shift{i}", 40 + 5 * i, 10 + i, 0.5 * i)
            for i in range(1, shifts + 1)
        },
    }
    start = {name: tensor.clone() for name, tensor in network().state_dict().items()}
    start = trained(start, numbers("upstream", 96, 9, 0.3), 0.05, 0)
    models = {"probe": Model("probe", start, "digest of probe")}
    chosen = given or settings(runs)
    for index, of_run in enumerate(chosen):
        name = f"ft-{index:03d}"
        noise = 0.0 if of_run.get("augment", "minimal") == "minimal" else 0.7
        weights = trained(start, sets["train"], of_run["lr"], of_run["seed"], steps, noise)
        models[name] = Model(name, weights, f"digest of {name} {of_run}", of_run)
    targets = {split: among_present(split, of.labels) for split, of in sets.items()}
    labels = sets["heldout"].labels

    def errors(name: str) -> int:
        model = network()
        model.load_state_dict(dict(models[name].weights))
        return int((predict(model, sets["heldout"]).argmax(axis=1) != labels).sum())

    ranked = sorted((name for name in models if name != "probe"), key=errors)
    return Bench(
        models=models,
        base="probe",
        ranked=ranked,
        candidates=ranked,
        sets=sets,
        targets=targets,
        shifts=[f"shift{i}" for i in range(1, shifts + 1)],
        architecture=worlds.architecture(),
        predict=predictions or Predictions(),
        kept=Kept(folder, AnswerStore(folder / "answers")),
        images=images,
    )


def literal(bench: Bench, point: Point, split: str) -> np.ndarray:
    """The logits of a point, computed anew in float64 from the sum of the weights."""
    total: dict[str, Tensor] = {}
    for name, share in point.terms:
        for key, tensor in bench.models[name].weights.items():
            total[key] = total.get(key, 0) + share * tensor.double()
    examples = bench.sets[split]
    inputs = examples.compact(np.arange(len(examples))).double()
    hidden = torch.tanh(inputs @ total["0.weight"].T + total["0.bias"])
    return (hidden @ total["2.weight"].T + total["2.bias"]).numpy()


def accuracy(bench: Bench, point: Point, split: str) -> float:
    """The accuracy of a point by `literal`, or the mean of those on the shifts."""
    names = bench.shifts if split == "shifts" else [split]
    scores = [literal(bench, point, n).argmax(axis=1) == bench.sets[n].labels for n in names]
    return float(np.mean([score.mean() for score in scores]))
