"""Reporting how far a piece of work is; `soup/terminal/progress.py` displays it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Track(Protocol):
    """Opens a piece of work; gives a function that is told how many more units are done."""

    def __call__(
        self, what: str, total: int | None = None, unit: str = "images"
    ) -> AbstractContextManager[Advance]:
        """
        Args:
            what: names the work.
            total: units in all; None if that is not known.
            unit: what is counted.
        """
        ...


@contextmanager
def no_progress(*_: object, **__: object) -> Iterator[Advance]:
    """A `Track` that displays nothing."""
    yield lambda _: None
