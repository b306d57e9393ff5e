"""What a recipe costs: forward passes, time and memory."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil
import torch

from soup.recipes.learned import Gradients, Objective
from soup.weights import Weights

EVERY = 0.02  # seconds between two looks at the memory


@dataclass(frozen=True)
class Cost:
    """What it took to make a soup.

    Attributes:
        passes: examples that were put through a model, as a multiple of the held-out examples. A
            pass with gradients, or over training images, counts alike.
        seconds: time on the wall.
        memory: most bytes that were held beyond those at the start, on the CPU (without mapped
            files) and on a GPU together.
    """

    passes: float
    seconds: float
    memory: int


def cost_metrics(cost: Cost) -> dict[str, float]:
    """The cost by MLflow's names."""
    return {"cost/passes": cost.passes, "cost/seconds": cost.seconds, "cost/bytes": cost.memory}


class Meter:
    """Measures the cost of what is done while it is entered."""

    def __init__(self, heldout: int) -> None:
        """
        Args:
            heldout: number of held-out examples.
        """
        self._heldout, self._examples = heldout, 0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)

    def count(self, examples: int) -> None:
        """Add examples that were put through a model."""
        self._examples += examples

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self._peak = self._before = self._held()
        self._started = time.perf_counter()
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._seconds = time.perf_counter() - self._started
        self._ended.set()
        self._watch.join()
        self._peak = max(self._peak, self._held())

    @property
    def cost(self) -> Cost:
        """The cost, once the work is done."""
        memory = max(0, self._peak - self._before)
        return Cost(self._examples / self._heldout, round(self._seconds, 3), memory)

    def _held(self) -> int:
        info = self._process.memory_info()
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        on_gpus = sum(torch.cuda.memory_allocated(gpu) for gpu in gpus)
        # Checkpoints are mapped files, whose pages the system may drop at any time.
        return int(info.rss - getattr(info, "shared", 0) + on_gpus)

    def _sample(self) -> None:
        while not self._ended.wait(EVERY):
            self._peak = max(self._peak, self._held())


class CountedObjective:
    """A held-out loss whose passes are counted. See `soup.recipes.learned.Objective`."""

    def __init__(self, objective: Objective, heldout: int, count: Callable[[int], None]) -> None:
        """
        Args:
            heldout: number of held-out examples; those that are not learned from are checked.
            count: called with the number of examples of each pass.
        """
        self._objective, self._count = objective, count
        self.device, self.storage = objective.device, objective.storage
        self._checked = heldout - sum(map(len, objective.batches(0)))

    def batches(self, epoch: int, size: int | None = None) -> Iterable[Any]:
        return self._objective.batches(epoch, size)

    def __call__(self, weights: Weights, beta: float, batch: Any) -> Gradients:
        self._count(len(batch))
        return self._objective(weights, beta, batch)

    def check(self, weights: Weights, beta: float) -> float | None:
        self._count(self._checked)
        return self._objective.check(weights, beta)
