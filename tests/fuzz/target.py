"""What is fuzzed, and what must hold of it: a result, or a refusal in a bounded message."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from soup.errors import LONGEST_LINE, BadInput, Failure
from tests.fuzz.mutations import Make

Listing = dict[str, tuple[int, int]]


class Fault(AssertionError):
    """An input that ends in another error than those for users, or in a bad message."""


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote.

    Attributes:
        name: for the table.
        make: makes the contents of the file, of a generator.
        file: its name.
        read: is given the file's path.
        ground: makes what stands beside the file.
        lines: that a refusal may have: one, or more where all that is wrong is listed.
        also: kinds of error that `read` documents beside `BadInput`, for its caller to tell.
        named: whether a refusal names the file; not where its caller does.
    """

    name: str
    make: Make
    file: str
    read: Callable[[Path], object]
    ground: Callable[[Path], object] = lambda folder: None
    lines: int = 1
    also: tuple[type[Exception], ...] = ()
    named: bool = True


def refused(target: Target, folder: Path, case: bytes) -> str:
    """Have a target read a case; the message of its refusal, '' if the case is accepted.

    Args:
        folder: holds what `target.ground` made.

    Raises:
        Fault: the target raised another error, wrote something, or its message is unfit.
    """
    path = folder / target.file
    path.unlink(missing_ok=True)  # writing over a file's contents would wait for the disk
    path.write_bytes(case)
    before = listing(folder)
    try:
        target.read(path)
    except (BadInput, Failure, *target.also) as error:
        message = str(error)
        told = isinstance(error, BadInput | Failure)
    except Exception as error:
        raise Fault(f"{target.name}: {type(error).__name__}: {str(error)[:300]}") from error
    else:
        return ""
    if listing(folder) != before:
        raise Fault(f"{target.name}: wrote {sorted(listing(folder).keys() ^ before.keys())}")
    if told:
        _require_fit(target, message)
    return message or "refused"


def _require_fit(target: Target, message: str) -> None:
    lines = message.split("\n")
    if len(lines) > target.lines or max(map(len, lines)) > 2 * LONGEST_LINE:
        raise Fault(f"{target.name}: {len(lines)} lines of {max(map(len, lines))}: {message[:300]}")
    if not all(line.replace("\t", "").isprintable() for line in lines):
        raise Fault(f"{target.name}: control characters in the message: {message[:300]!r}")
    if target.named and target.file not in message:
        raise Fault(f"{target.name}: the message does not name the file: {message[:300]}")


def listing(folder: Path) -> Listing:
    """Size and time of change of every file below a folder."""
    stats = ((file, file.stat()) for file in folder.rglob("*") if file.is_file())
    return {str(file): (stat.st_size, stat.st_mtime_ns) for file, stat in stats}
