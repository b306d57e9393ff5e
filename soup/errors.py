"""Kinds of errors whose message is enough: a command prints it, without a traceback."""

import errno
from collections.abc import Sequence


class BadInput(Exception):
    """Something the user gave cannot be used; nothing was trained. Commands exit with 2."""


class Failure(Exception):
    """What was asked for was tried and did not succeed. Commands exit with 1."""


class DiskFull(Failure, OSError):
    """There is no room left; the message says where. What is done is kept."""


def some(items: Sequence[object], limit: int, separator: str = ", ", last: str = "") -> str:
    """A list for a message, cut short: "a, b, and 3 more".

    Args:
        items: what to list.
        limit: how many items are written out.
        separator: what stands between two items.
        last: what stands before "and"; by default the separator.
    """
    written = separator.join(map(str, items[:limit]))
    if len(items) <= limit:
        return written
    return f"{written}{last or separator}and {len(items) - limit} more"


def full_disk(error: BaseException) -> DiskFull | None:
    """What to say of an error that comes of a full disk; None of any other.

    SQLite, safetensors and MLflow each say it in words of their own.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DiskFull):
            return seen
        text = str(seen)
        if getattr(seen, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in text for words in ("No space left on device", "disk is full", "os error 28")
        ):
            return DiskFull(
                f"the disk is full: {text.splitlines()[0]}; make room and start again, it goes on "
                "where it was"
            )
        seen = seen.__cause__ or seen.__context__
    return None
