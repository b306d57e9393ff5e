"""What a sweep asks of each of its parts, and the digests of the ingredients that a part makes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from soup.files import of_value
from soup.pipeline.sweep.devices import Devices
from soup.train.finetune import FINAL_WEIGHTS, Results
from soup.train.loop import Log


class Part(Protocol):
    """A fine-tune, or a checkpoint that was fine-tuned elsewhere.

    Attributes:
        digest: of all that decides its ingredients.
        steps: how far its progress is counted.
        folder: where its state and results are kept until MLflow has them.
        names: average of the weights ('' for the weights themselves) -> name of the ingredient.
        params: hyperparameters for MLflow.
        tags: for its runs, beside those of the sweep.
    """

    @property
    def digest(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def folder(self) -> Path: ...
    @property
    def names(self) -> Mapping[str, str]: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...

    def results(self) -> Results | None:
        """Results on disk, of a part whose pipeline was killed before MLflow had them."""
        ...

    def make(
        self, devices: Devices, log: Log, say: Callable[[str], None], until: float, /
    ) -> Results | float:
        """Make the ingredients, or, for `until` below 1, go that share of the way and pause.

        Returns:
            The results by average, or the held-out accuracy at the pause.

        Raises:
            Failed: this part cannot be made; the others can.
        """
        ...


def ingredient_digest(part: Part, average: str) -> str:
    """The digest of one ingredient of a part."""
    if average == FINAL_WEIGHTS:
        return part.digest
    return of_value({"fine-tune": part.digest, "average": average})
