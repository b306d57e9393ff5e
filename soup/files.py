"""Files appear whole or not at all (written aside, then renamed); digests of files and values."""

import glob
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path beside the given one; it takes its place if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(path)
    mark = f".{path.name}.{_host()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=mark, suffix=path.suffix)
    os.close(handle)
    aside = Path(name)
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
        aside.unlink(missing_ok=True)


def _sweep_up(path: Path) -> None:
    """Delete what killed writers of the path left beside it, on this host."""
    mark = glob.escape(f".{path.name}.{_host()}-")
    for left in path.parent.glob(f"{mark}*{glob.escape(path.suffix)}"):
        writer = left.name.removeprefix(f".{path.name}.{_host()}-").partition("-")[0]
        if writer.isdigit() and not _runs(int(writer)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    if os.name == "nt":  # to ask would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    return platform.node().replace("-", "_").replace("/", "_")


def write_text(path: str | Path, text: str) -> None:
    """Write text with Unix line ends, the same bytes on every platform."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON that a person can read and a diff can follow."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def of_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_value(value: object) -> str:
    """The SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_files(paths: Iterable[str | Path], root: Path) -> str:
    """One digest for several files, by their paths relative to the root and their bytes."""
    return of_value({str(path): of_file(root / path) for path in paths})
