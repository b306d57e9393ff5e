"""A model's answers in a file: float16, compressed, and readable by numpy alone.

`numpy.load(path)["logits"]` is all that it takes. Of 1,500 photographs and 177 classes deflate
leaves 0.88 of float16's bytes, 0.44 of float32's; lzma would leave 0.84, bytes sorted into planes
0.81: the low half of such numbers is noise, so that a common format is worth more.
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
    """A file of answers that is not one."""


def to_float16_keeping_argmax(
    logits: Logits, columns: NDArray[np.int64] | None = None
) -> Float16[NDArray[np.float16], "examples classes"]:
    """Logits rounded to float16, with the same likeliest class, and so the same accuracy.

    Rounding never reverses an order, but makes ties; where it does so at the top, the likeliest
    class is raised by one unit in the last place.

    Args:
        columns: the classes among which an example's likeliest is sought; all of them by default.
    """
    with np.errstate(over="ignore"):  # of a model that diverged
        half = np.asarray(logits).astype(np.float16)
    every = np.arange(half.shape[1]) if columns is None else columns
    for start in range(0, len(half), ROWS):  # a copy of a part of the logits, not of all
        part = slice(start, start + ROWS)
        among = slice(None) if columns is None else columns
        # As float32, of which the largest is found in a tenth of the time.
        rounded, exact = half[part][:, among].astype(np.float32), logits[part][:, among]
        top = exact.argmax(axis=1)
        tied = np.flatnonzero(rounded.argmax(axis=1) != top)
        cells = tied + start, every[top[tied]]
        half[cells] = np.nextafter(half[cells], np.float16(np.inf))
    return half


def write(path: Path, logits: Logits, correct: Correct | None = None) -> None:
    """Write answers and, if given, which of them are right."""
    parts: dict[str, Any] = {} if correct is None else {"correct": correct}
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, logits=to_float16_keeping_argmax(logits), **parts)


def read(path: Path, name: str = "logits") -> NDArray[np.generic]:
    """'logits', float16 (examples, classes), or 'correct', bool (examples,).

    Raises:
        Unreadable: it is not there, or is no file of answers.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found: NDArray[np.generic] = file[name]
            return found
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} does not hold '{name}' of a model: {error}") from None
