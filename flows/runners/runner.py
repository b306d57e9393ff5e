"""A runner: all that a sweep knows of where its fine-tunes run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Runner:
    """A place for fine-tunes.

    Attributes:
        slots: how many fine-tunes it takes at once; a model that is being stored, and a fine-tune
            that waits for devices, count as one.
        call: trains a fine-tune, by name, to a share of its run (1 for all of it) and returns what
            `Sweep.run` or `Sweep.train_until` does; is called from as many threads as there are
            slots.
    """

    slots: int
    call: Callable[[str, float], Any]
