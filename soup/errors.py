"""Errors that a user can act on: a command prints their message without a traceback."""

import errno
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches

# Where addresses hold secrets: before the host (a password may hold what should be written %2F),
# and in the query or fragment.
_USER = re.compile(
    r"(?<=://)(?:[^/\s@:]*:(?!\d{1,5}(?:[/?#\s]|$))[^\s'\"<>]*@"  # user:password, but no host:port/
    r"|[^/\s]*@)"
)
_QUERY = re.compile(
    r"(?i)([?&#](?:[\w-]*(?:token|password|passwd|secret|signature|credential)|api_?key|sig|key)=)"
    r"[^&#\s'\"<>]+"
)


def without_password(text: str) -> str:
    """Take user, password and tokens out of every address in a text.

    http://me:secret@host/x?token=secret becomes http://host/x?token=***. What puts an address into
    a message, a log, a tag, a page or a file passes it through here.
    """
    return _QUERY.sub(r"\1***", _USER.sub("", text))


def hide_passwords(error: BaseException) -> None:
    """Take the passwords out of the texts of an error and of all that led to it, in place."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        with suppress(Exception):  # some kinds of error compute their arguments
            cause.args = tuple(without_password(a) if isinstance(a, str) else a for a in cause.args)
        cause = cause.__cause__ or cause.__context__


LONGEST_LINE = 2000  # characters of a line of a message
MOST_LINES = 60


def presentable(text: str) -> str:
    """A text that any terminal, log and database takes, whatever names of files and keys are in it.

    Control characters but line ends, and halves of characters, are written as escapes; long lines
    lose their middle, and long texts their end.
    """
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode()
            for c in text
        )
    half = LONGEST_LINE // 2
    lines = [
        line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"
        for line in text.split("\n", MOST_LINES)[:MOST_LINES]
    ]
    return "\n".join([*lines, "..."] if text.count("\n") >= MOST_LINES else lines)


class _Told(Exception):
    """An error whose message people read, log and send: it holds no password, and is bounded."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(
            *(presentable(without_password(a)) if isinstance(a, str) else a for a in arguments)
        )


class BadInput(_Told):
    """The user's input cannot be used; nothing was trained. Commands exit with code 2."""


class Failure(_Told):
    """The command was tried and did not succeed. Commands exit with code 1."""


class DiskFull(Failure, OSError):
    """The disk is full; the message names the file. Finished work is kept."""


def tells_what(error: BaseException) -> bool:
    """Whether people can act on an error's message alone, without a traceback.

    Not on the system's own words where they name no file: "Bad file descriptor" of what?
    """
    if isinstance(error, (BadInput, Failure)):
        return True
    if not isinstance(error, OSError) or not str(error).strip():
        return False
    by_system = error.errno is not None and type(error).__str__ is OSError.__str__
    return error.filename is not None or not by_system


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


def near(name: str, names: Iterable[str]) -> str:
    """' (near: ...)' with the three most similar names; '' if none is similar."""
    similar = get_close_matches(name, list(names), n=3)
    return f" (near: {', '.join(similar)})" if similar else ""


# The modules of each optional part of the package, as pyproject.toml declares the parts.
EXTRAS = {
    "text": {"tokenizers", "transformers"},
    "vision": {
        "PIL", "huggingface_hub", "jaxtyping", "numpy", "open_clip", "pandas", "pydantic", "scipy",
        "timm", "torchvision", "yaml",
    },
    "serve": {"gunicorn", "orjson", "starlette", "uvicorn"},
    "sign": {"model_signing"},
    "try": {"gradio"},
    "export": {"onnx", "onnxruntime", "onnxscript"},
    "pipeline": {
        "dvc", "fastapi", "filelock", "httpx", "jinja2", "markupsafe", "matplotlib", "mlflow",
        "prefect", "prometheus_client", "psutil", "pyarrow", "sqlalchemy",
    },
}  # fmt: skip


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for a module that is missing; None if no optional part has it."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            install = f"pip install '.[{extra}]' in the checkout of modelsoup"
            return f"{module}, which is not installed: {install}"
    return None


def full_disk(error: BaseException) -> DiskFull | None:
    """Return a `DiskFull` if a full disk caused the error, else None.

    Walks the chain of causes. SQLite, safetensors and MLflow each raise another type of error with
    another text for a full disk.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # a chain may be a ring
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, DiskFull):
            return cause
        text = str(cause)
        if getattr(cause, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in text for words in ("No space left on device", "disk is full", "os error 28")
        ):
            return DiskFull(
                f"the disk is full: {text.splitlines()[0]}; make room and start again, it goes on "
                "where it was"
            )
        cause = cause.__cause__ or cause.__context__
    return None
