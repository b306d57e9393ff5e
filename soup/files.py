"""Write files atomically (beside their place, then renamed), read JSON, digest files and values."""

import ast
import glob
import hashlib
import json
import math
import os
import platform
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from soup import limits
from soup.errors import BadInput

_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[^][{}"]++', re.DOTALL)
_LEAVES = re.compile(r"\[\]|\{\}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


class BadJson(BadInput, ValueError):
    """A text is not JSON, or exceeds a limit of size or depth; the message names its source."""


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


def read_json(path: str | Path) -> Any:
    """Read a JSON file from other people, within the limits of `parse_json`.

    Raises:
        BadJson: the file is not JSON, or exceeds a limit.
        OSError: the file cannot be read.
    """
    return parse_json(read_bytes(path), str(path))


def read_bytes(path: str | Path, largest: int | None = None) -> bytes:
    """Read a file whole, if it has at most so many bytes (`limits.JSON_BYTES`).

    Raises:
        BadJson: it is larger, or no regular file: a pipe would never end.
        OSError: it cannot be read.
    """
    path, largest = Path(path), largest or limits.JSON_BYTES
    if "\0" in str(path):
        raise BadJson(f"{str(path)[:200]!r} has a NUL character, as no path has")
    if path.exists() and not path.is_file():
        raise BadJson(f"{path} is no regular file")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise BadJson(
            f"{path} has more than {largest:,} bytes, the most that is read of such files"
        )
    return content


def parse_json(
    text: str | bytes, source: str, largest: int | None = None, finite: bool = True
) -> Any:
    """Parse JSON from other people.

    Size and depth are checked before parsing. Refused are NaN, infinite numbers, whole numbers
    beyond 64 bits, texts with NUL or a lone surrogate, and tables with duplicate keys.

    Args:
        source: where the text comes from, for the error message.
        largest: bytes; default: `limits.JSON_BYTES`.
        finite: refuse NaN and infinite numbers, which JSON does not have and Python writes.

    Raises:
        BadJson: the text is refused; the message gives the reason in one line.
    """
    largest = largest or limits.JSON_BYTES
    try:
        if len(text) > largest:
            raise ValueError(f"it has more than {largest:,} bytes, the most that is read")
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if _is_deep(text):
            raise ValueError(f"it is nested deeper than {limits.JSON_DEPTH}, or not closed")
        hooks: dict[str, Any] = (
            {"parse_float": _finite, "parse_constant": _finite} if finite else {}
        )
        value = json.loads(text, object_pairs_hook=_table, parse_int=_whole, **hooks)
        if "\\u0000" in text:
            raise ValueError("a text in it has a NUL character")
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadJson(f"{source} cannot be read as JSON: a text in it is no Unicode") from None
    except ValueError as error:
        raise BadJson(f"{source} cannot be read as JSON: {error}") from None
    return value


def _is_deep(text: str) -> bool:
    """Whether lists and tables are nested beyond the limit; found without recursion."""
    brackets = _STRINGS.sub("", text)
    for _ in range(limits.JSON_DEPTH):
        fewer = _LEAVES.sub("", brackets)
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return len(brackets) > limits.JSON_DEPTH or _LEAVES.search(brackets) is not None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:100]!r} is in a table twice")
    return table


def _whole(digits: str) -> int:
    if len(digits) > limits.DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


class ShortReads:
    """A file for tarfile, which can read at most `limits.TAR_HEADER_BYTES` at once.

    tarfile reads a header of whatever length the archive states. It reads content only
    on request.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, count: int = -1) -> bytes:
        """Read bytes.

        Raises:
            OSError: more than `limits.TAR_HEADER_BYTES` are requested.
        """
        if not 0 <= count <= limits.TAR_HEADER_BYTES:
            raise OSError(
                f"a header of {count:,} bytes; at most {limits.TAR_HEADER_BYTES:,} are read "
                "(limit TAR_HEADER_BYTES in soup/limits.py)"
            )
        return self._file.read(count)


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
    """One digest for the code of modules and packages; part of the cache key of their results.

    Comments, docstrings and layout do not change the digest.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    return of_value([[_code(file) for file in _sources(module)] for module in modules])


@cache
def of_libraries(*names: str) -> str:
    """The versions of packages, as pip calls them; part of the cache key of what they compute."""
    from importlib.metadata import PackageNotFoundError, version

    def known(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:  # installed in another way
            return ""

    return ", ".join(f"{name} {known(name)}" for name in names)


def _sources(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}", name=module)
    file = Path(spec.origin)
    return sorted(file.parent.rglob("*.py")) if spec.submodule_search_locations else [file]


@cache
def _code(file: Path) -> str:
    """Parsed once: digests of several parts of the code have files in common."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)
