"""What a recipe costs: forward passes, time and memory."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil
import torch

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
