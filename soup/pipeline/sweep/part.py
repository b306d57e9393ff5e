"""What a sweep asks of each of its parts, and the ingredients that a part makes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from soup.errors import Failure
from soup.files import of_value
from soup.pipeline.sweep.devices import Devices
from soup.train.finetune import FINAL_WEIGHTS, Results
from soup.train.loop import Log

Lent = Devices | Callable[[], Devices]  # or what waits until devices are free
RunId: TypeAlias = "_lru_cache_wrapper[str]"  # the first call begins the run in MLflow


class SweepError(Failure, RuntimeError):
    """A sweep without a single ingredient; the message says what to change."""


class StoppedEarly(Failure, RuntimeError):
    """A fine-tune that successive halving stopped; the message says by how much it lagged."""


@dataclass(frozen=True)
class Part(ABC):
    """A fine-tune, or a checkpoint that was fine-tuned elsewhere.

    Attributes:
        digest: of all that decides its ingredients.
        name: as shown.
        folder: where its state and results are kept until MLflow has them.
        steps: how far its progress is counted.
        params: hyperparameters for MLflow.
        tags: for its runs, beside those of the sweep.
    """

    digest: str
    name: str
    folder: Path
    steps: int
    params: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def names(self) -> Mapping[str, str]:
        """The ingredients' names, by which average of the weights each is ('' for none)."""
        return {FINAL_WEIGHTS: self.name}

    def digest_of(self, average: str) -> str:
        """The digest of one ingredient."""
        if average == FINAL_WEIGHTS:
            return self.digest
        return of_value({"fine-tune": self.digest, "average": average})

    @property
    def digests(self) -> dict[str, str]:
        """The digests of the ingredients, by their names."""
        return {name: self.digest_of(average) for average, name in self.names.items()}

    @property
    def length(self) -> float:
        """How long it takes to make, in a unit that all parts of a sweep share."""
        return self.steps

    def lock(self) -> FileLock:
        """Two pipelines on one store: the second waits, and then finds the part finished."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.with_suffix(".lock"))

    def results(self) -> Results | None:
        """Results on disk, of a part whose pipeline was killed before MLflow had them."""
        return None

    @abstractmethod
    def make(
        self,
        devices: Lent,
        begun: Callable[[], object],
        freed: Callable[[], object],
        log: Log,
        say: Callable[[str], None],
        until: float,
        /,
    ) -> Results | float:
        """Make the ingredients, or, for `until` below 1, go that share of the way and pause.

        Args:
            devices: that it is made on, or what waits for them.
            begun: called once the work has begun, and while it goes on.
            freed: called once the part is made and its devices are free for another.

        Returns:
            The results by average, or the held-out score at the pause.

        Raises:
            Failed: this part cannot be made; the others can.
        """
