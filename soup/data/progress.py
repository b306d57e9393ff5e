"""How far a piece of work is. What does the work tells it; who shows it, and where, is not its
concern (`flows/terminal/progress.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Track(Protocol):
    """Opens a piece of work of `total` units (None if nobody knows); in it, each call of what it
    gives tells of so many more that are done.
    """

    def __call__(
        self, what: str, total: int | None = None, unit: str = "images"
    ) -> AbstractContextManager[Advance]: ...


@contextmanager
def no_progress(*_: object, **__: object) -> Iterator[Advance]:
    """Work that nobody watches."""
    yield lambda _: None
