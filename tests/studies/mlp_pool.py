"""A bench of tiny networks of one hidden layer, whose passes are counted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.targets import among_present
from soup.files import of_value
from soup.studies.bench import Bench
from soup.studies.kept import Kept
from soup.studies.model import Model
from soup.weights import Weights
from tests import worlds

CLASSES, WIDTH, INPUTS = 3, 8, 5


@dataclass(frozen=True)
class Vectors:
    """Random vectors, as `soup.evaluation.examples.Examples`."""

    inputs: Tensor
    labels: NDArray[np.int64]
    name: str

    @property
    def digest(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self.labels)

    def groups(self, indices: NDArray[np.int64], size: int) -> None:
        return None

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        yield self.inputs[torch.from_numpy(indices)].to(device)

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        return self.inputs[torch.from_numpy(indices)]

    def prepare(self, compact: Tensor, /) -> Tensor:
        return compact


def network(weights: Weights, inputs: Tensor) -> Tensor:
    """The logits, float32 (examples, CLASSES)."""
    hidden = torch.relu(inputs @ weights["in"].T + weights["bias"])
    return hidden @ weights["out"].T


@dataclass
class Pool:
    """The models and examples of the bench, and how many passes were made over them."""

    models: dict[str, dict[str, Tensor]]
    sets: dict[str, Vectors]
    settings: dict[str, dict[str, Any]]
    passes: list[tuple[str, bool]] = field(default_factory=list)

    def predict(self, weights: Weights, examples: Any, combined: bool) -> NDArray[np.float32]:
        self.passes.append((examples.digest, combined))
        inputs = examples.compact(np.arange(len(examples)))
        return network(weights, inputs).numpy()

    def logits(self, weights: Mapping[str, Tensor], split: str) -> NDArray[np.float64]:
        """As a slow computation has them: in the precision of stored logits."""
        raw = network(weights, self.sets[split].inputs).numpy()
        return raw.astype(np.float16).astype(np.float64)

    def network_answers(self, weights: Mapping[str, Tensor], split: str) -> NDArray[np.int64]:
        return network(weights, self.sets[split].inputs).argmax(1).numpy()

    def errors(self, weights: Mapping[str, Tensor], split: str) -> int:
        return int((self.network_answers(weights, split) != self.sets[split].labels).sum())

    def average(self, names: list[str]) -> dict[str, Tensor]:
        members = [self.models[name] for name in names]
        return {
            key: (sum(m[key].double() for m in members) / len(members)).float()
            for key in members[0]
        }

    @property
    def ranked(self) -> list[str]:
        names = [name for name in self.models if name != "probe"]
        return sorted(names, key=lambda name: (self.errors(self.models[name], "heldout"), name))

    def bench(self, folder: Path, **changes: Any) -> Bench:
        """A bench over the pool that keeps what it computes in a folder."""
        architecture = worlds.architecture()
        given: dict[str, Any] = {
            "models": {
                name: Model(name, w, of_value([name, *(t.tolist() for t in w.values())]),
                            self.settings.get(name, {}))
                for name, w in self.models.items()
            },
            "base": "probe",
            "ranked": self.ranked,
            "candidates": self.ranked,
            "sets": self.sets,
            "targets": {s: among_present(s, v.labels) for s, v in self.sets.items()},
            "shifts": [split for split in self.sets if split.startswith("far")],
            "architecture": architecture,
            "predict": self.predict,
            "kept": Kept(folder, AnswerStore(folder / "answers")),
        }  # fmt: skip
        return Bench(**(given | changes))


def pool(
    models: int = 5,
    examples: int = 60,
    spread: float = 0.35,
    settings: Mapping[str, dict[str, Any]] | None = None,
    seed: int = 0,
    names: list[str] | None = None,
) -> Pool:
    """Networks around one that labels the examples, and the start of all of them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    shapes = {"in": (WIDTH, INPUTS), "bias": (WIDTH,), "out": (CLASSES, WIDTH)}
    teacher = {key: draw(*shape) for key, shape in shapes.items()}
    sets = {}
    for place, split in enumerate(("train", "heldout", "test", "far one", "far two")):
        inputs = draw(examples + 7 * place, INPUTS) * (1.5 if split.startswith("far") else 1)
        clean = network(teacher, inputs)
        labels = (clean + 0.3 * draw(*clean.shape)).argmax(1).numpy()
        labels[:CLASSES] = np.arange(CLASSES)
        sets[split] = Vectors(inputs, labels, f"{split} {seed}")
    names = names or [f"run-{number}" for number in range(models)]
    made = {"probe": {k: v + 2 * spread * draw(*v.shape) for k, v in teacher.items()}}
    for name in names:
        made[name] = {k: v + spread * draw(*v.shape) for k, v in teacher.items()}
    return Pool(made, sets, {**(settings or {})})
