"""Files of a model's predictions: float16 logits in numpy's compressed format.

`numpy.load(path)["logits"]` reads them. The logits of 1,500 photographs and 177 classes shrink to
0.88 of their size as float16 (0.44 of float32). lzma would give 0.84, and sorting the bytes by
significance 0.81; the difference is small because the low byte of a logit is noise, so that the
common format was preferred.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from numpy.typing import NDArray

from soup.evaluation.metrics import ROWS, Correct, Logits
from soup.files import atomic_write


class Unreadable(ValueError):
    """A file of predictions that is missing or damaged."""


def to_float16_keeping_argmax(
    logits: Logits, columns: NDArray[np.int64] | None = None
) -> Float16[NDArray[np.float16], "examples classes"]:
    """Logits rounded to float16, with the same most likely class and so the same accuracy.

    Rounding never reverses the order of two logits, but it makes ties. If the highest logit of an
    example ties, it is raised by one unit in the last place.

    Args:
        logits: float (examples, classes).
        columns: the classes that the model chooses among; all of them by default.
    """
    with np.errstate(over="ignore"):  # a diverged model has logits beyond float16
        half = np.asarray(logits).astype(np.float16)
    every = np.arange(half.shape[1]) if columns is None else columns
    for start in range(0, len(half), ROWS):  # copies of all logits would take too much memory
        part = slice(start, start + ROWS)
        among = slice(None) if columns is None else columns
        # numpy finds the largest float32 in a tenth of the time that float16 takes.
        rounded, exact = half[part][:, among].astype(np.float32), logits[part][:, among]
        top = exact.argmax(axis=1)
        tied = np.flatnonzero(rounded.argmax(axis=1) != top)
        cells = tied + start, every[top[tied]]
        half[cells] = np.nextafter(half[cells], np.float16(np.inf))
    return half


def write(path: Path, logits: Logits, correct: Correct | None = None) -> None:
    """Write logits, rounded to float16, and if given, which examples are classified correctly."""
    parts: dict[str, Any] = {} if correct is None else {"correct": correct}
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, logits=to_float16_keeping_argmax(logits), **parts)


def read(path: Path, name: str = "logits") -> NDArray[np.generic]:
    """The array 'logits', float16 (examples, classes), or 'correct', bool (examples,).

    Raises:
        Unreadable: the file is missing, is no file of predictions, or lacks the array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            array: NDArray[np.generic] = file[name]
            return array
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} does not hold '{name}' of a model: {error}") from None
