"""The mean of a soup and the next candidate, summed while the present candidate is judged."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from torch import Tensor

from soup.recipes.ingredient import Ingredient
from soup.weights.running_mean import RunningMean


class MeansAhead:
    """Means of a soup with one candidate each, within a `with` block; two of them are in memory."""

    def __init__(self, soup: RunningMean) -> None:
        """
        Args:
            soup: the models added so far; changed by `add` alone.
        """
        self._soup = soup
        self._begun: tuple[Ingredient, Future[dict[str, Tensor]]] | None = None

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def begin(self, candidate: Ingredient) -> None:
        """Sum the mean with a candidate in a thread of its own, to be asked for later."""
        self._begun = candidate, self._thread.submit(self._soup.value, candidate.weights)

    def of(self, candidate: Ingredient) -> dict[str, Tensor]:
        """Return the mean with a candidate: the one that was begun, or summed now.

        Raises:
            Incompatible: names or shapes differ.
        """
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] is candidate:
            return begun[1].result()
        return self._soup.value(candidate.weights)

    def add(self, candidate: Ingredient) -> None:
        """Add a candidate to the soup; what was begun is of no use then."""
        begun, self._begun = self._begun, None
        if begun is not None and not begun[1].cancel():
            begun[1].exception()  # it reads the sum, which changes now; it may have failed
        self._soup.add(candidate.weights)
