"""Files appear whole or not at all: written aside, then renamed."""

import glob
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed writer leaves stays
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a path beside the given one; it takes its place if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    aside = Path(name)
    if fcntl:
        fcntl.flock(handle, fcntl.LOCK_SH)  # until it is closed, or its writer is killed
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private to the user; a result is as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)
        aside.replace(path)
    finally:
        os.close(handle)
        aside.unlink(missing_ok=True)


def _sweep_up(path: Path) -> None:
    """Delete what killed writers of the path left beside it."""
    if fcntl is None:
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????{glob.escape(path.suffix)}"):
        try:
            with left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody writes it
                left.unlink(missing_ok=True)
        except OSError:
            continue


def write_text(path: str | Path, text: str) -> None:
    """Write text with Unix line ends, the same bytes on every platform."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON that a person can read and a diff can follow."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
