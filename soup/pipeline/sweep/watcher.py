"""What is told how a sweep goes on."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class Watcher(Protocol):
    """Is told how the parts of a sweep go on."""

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def done(self, name: str, message: str) -> None: ...

    def say(self, message: str) -> None: ...
