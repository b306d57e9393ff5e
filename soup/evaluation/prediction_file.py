"""Files of a model's predictions: float16 logits in numpy's compressed format.

A model with a logit beyond 65,504, the largest float16 number, has float32 logits instead.

`numpy.load(path)["logits"]` reads them. The logits of 1,500 photographs and 177 classes shrink to
0.88 of their size as float16 (0.44 of float32). lzma would give 0.84, and sorting the bytes by
significance 0.81; the difference is small because the low byte of a logit is noise, so that the
common format was preferred.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soup.data.array_file import parse_array
from soup.errors import BadInput
from soup.evaluation.metrics import ROWS, Correct, Logits
from soup.files import atomic_write

RATIO = 1100  # zlib makes at most 1,032 bytes of one
# What zipfile raises of damage: another version, encryption, lengths and streams that are wrong.
DAMAGE = (NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)


class Unreadable(BadInput, ValueError):
    """A file of predictions that is missing or damaged."""


def to_float16_keeping_argmax(logits: Logits, columns: Sequence[NDArray[np.int64]] = ()) -> Logits:
    """Logits rounded to float16, with the same most likely class and so the same accuracy.

    Rounding never reverses the order of two logits, but it makes ties. If the highest logit of an
    example ties, it is raised to one unit in the last place above the others.

    Args:
        logits: float (examples, classes).
        columns: the sets of classes that the model chooses among; all classes by default.

    Returns:
        float16 (examples, classes), or float32 if a logit is infinite in float16. A single column,
        which holds predicted numbers, stays float32: rounding would make equal ranks.
    """
    if logits.shape[1] == 1:
        return np.asarray(logits).astype(np.float32)
    with np.errstate(over="ignore"):
        rounded = np.asarray(logits).astype(np.float16)
        if _infinite(rounded):
            rounded = np.asarray(logits).astype(np.float32)
    every = np.arange(rounded.shape[1])
    # A larger set may hold a smaller one, whose highest logit was raised already.
    for among in sorted(columns or [every], key=len):
        for start in range(0, len(rounded), ROWS):  # copies of all logits would take much memory
            # numpy finds the largest float32 in a tenth of the time that float16 takes.
            part = rounded[start : start + ROWS, among].astype(np.float32)
            top = logits[start : start + ROWS, among].argmax(axis=1)
            tied = np.flatnonzero(part.argmax(axis=1) != top)
            highest = part[tied].max(axis=1).astype(rounded.dtype)
            above = np.nextafter(highest, rounded.dtype.type(np.inf))
            rounded[tied + start, among[top[tied]]] = above
    return rounded


def _infinite(logits: Logits) -> bool:
    parts = range(0, len(logits), ROWS)
    return any(bool(np.isinf(logits[start : start + ROWS]).any()) for start in parts)


def overflowed(logits: Logits) -> bool:
    """Whether logits, as an earlier version stored them, became infinite when they were rounded."""
    return logits.dtype == np.float16 and _infinite(logits)


def write(path: Path, logits: Logits, correct: Correct | None = None) -> None:
    """Write logits, rounded as above, and if given, which examples are classified correctly."""
    parts: dict[str, Any] = {} if correct is None else {"correct": correct}
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, logits=to_float16_keeping_argmax(logits), **parts)


def read(path: Path, name: str = "logits") -> NDArray[np.generic]:
    """The array 'logits', float16 or float32 (examples, classes), or 'correct', bool (examples,).

    Raises:
        Unreadable: the file is missing, is no file of predictions, or lacks the array.
    """
    try:
        with zipfile.ZipFile(path) as file:
            member = file.getinfo(f"{name}.npy")
            if member.file_size > RATIO * max(1, member.compress_size):
                raise ValueError(f"{member.compress_size} bytes cannot hold {member.file_size}")
            array = parse_array(file.read(member))
        kind, dimensions = ("b", 1) if name == "correct" else ("f", 2)
        if array.dtype.kind != kind or array.ndim != dimensions:
            raise ValueError(f"it holds {array.dtype} {array.shape}")
        return array
    except (OSError, EOFError, ValueError, KeyError, *DAMAGE) as error:
        raise Unreadable(f"{path} does not hold '{name}' of a model: {error}") from None
