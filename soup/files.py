"""Write files atomically (beside their place, then renamed), and digest files and values."""

import ast
import glob
import hashlib
import json
import os
import platform
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file, which replaces `path` when the block succeeds.

    The temporary file stands in the folder of `path`, which is created if missing, and has the
    suffix of `path`. If the block raises, `path` stays as it was and the temporary file is deleted.

    Raises:
        OSError: the folder or the file cannot be written, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(path)
    name = f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(8)}{path.suffix}"
    temporary = path.with_name(name)
    # tempfile.mkstemp would make a file that no other user can read; `touch` leaves the mode to
    # the kernel, which applies the umask. Asking for the umask would change it for all threads.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _delete_leftovers(path: Path) -> None:
    """Delete the temporary files that killed processes of this host left beside `path`."""
    prefix = f".{path.name}.{_host()}-"
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*{glob.escape(path.suffix)}"):
        writer = leftover.name.removeprefix(prefix).partition("-")[0]
        if writer.isdigit() and not _is_running(int(writer)):
            leftover.unlink(missing_ok=True)


def _is_running(process_id: int) -> bool:
    if os.name == "nt":  # there os.kill(process_id, 0) ends the process
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    return platform.node().replace("-", "_").replace("/", "_")


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically, as UTF-8 with Unix line ends on every platform."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON atomically, indented and with sorted keys, so that a diff shows what changed.

    Raises:
        ValueError: the value holds NaN or infinite numbers.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, as `sha256sum` prints it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_value(value: object) -> str:
    """Return the SHA-256 of a JSON value, written without spaces and with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_files(paths: Iterable[str | Path], root: Path) -> str:
    """Return one SHA-256 for several files: of their paths relative to `root` and their bytes."""
    return of_value({str(path): of_file(root / path) for path in paths})


@cache
def of_code(*modules: str) -> str:
    """One digest for the code of modules and packages: part of the key of what that code computes.

    Comments, docstrings and layout do not count.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    return of_value([[_code(file) for file in _sources(module)] for module in modules])


def _sources(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}", name=module)
    file = Path(spec.origin)
    return sorted(file.parent.rglob("*.py")) if spec.submodule_search_locations else [file]


def _code(file: Path) -> str:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)
