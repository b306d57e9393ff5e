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

from soup.evaluation.metrics import Correct, Logits
from soup.files import atomic_write


class Unreadable(ValueError):
    """A file of answers that is not one."""


def to_float16_keeping_argmax(logits: Logits) -> Float16[NDArray[np.float16], "examples classes"]:
    """float16 with the same likeliest class, which rounding would change where two are near.

    Rounding never turns an order round, but it makes ties; the right one is then raised by a bit.
    """
    with np.errstate(over="ignore"):  # of a model that diverged
        half = np.asarray(logits).astype(np.float16)
    top = logits.argmax(axis=1)
    lost = np.flatnonzero(half.argmax(axis=1) != top)
    half[lost, top[lost]] = np.nextafter(half[lost, top[lost]], np.float16(np.inf))
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
