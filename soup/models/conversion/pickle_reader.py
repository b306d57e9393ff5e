"""Reading files of `torch.save` without running code from them.

A pickle is a program. `weights_only=True` allows it to build tensors and plain containers only; a
pickle that asks for anything else is refused, and the message names what it asked for. There is
deliberately no option to allow more.
"""

import pickle
import re
import struct
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from soup.models.conversion import growth
from soup.models.conversion.errors import FormatError


class Inert:
    """Stands in for a value that is no tensor: it takes what a pickle gives, and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _dict(*_: object) -> dict[object, object]:
    return {}


def _list(*_: object) -> list[object]:
    return []


# What stands beside the weights (scores, paths, dates, settings), and what is made in its place, so
# that nothing of these modules is run either.
BESIDE: dict[str, Callable[..., object]] = {
    "collections.defaultdict": _dict,
    "collections.deque": _list,
    **dict.fromkeys((
        *("numpy.dtype", "numpy.ndarray"),
        *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
        *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
        *("datetime.datetime", "datetime.date", "datetime.time"),
        *("datetime.timedelta", "datetime.timezone"),
        *("pathlib.PosixPath", "pathlib.WindowsPath"),
        *("pathlib.PurePosixPath", "pathlib.PureWindowsPath"),
        *("pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
        *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
        *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
        *("omegaconf.nodes.AnyNode", "typing.Any"),
        *("builtins.dict", "builtins.list", "builtins.int", "builtins.float", "builtins.str"),
    ), Inert),
}  # fmt: skip
SHARDS = (
    "holds tensors of one process of many (DTensor, ShardedTensor); save whole ones in the program "
    "that wrote it, by get_model_state_dict(model, "
    "options=StateDictOptions(full_state_dict=True)) of torch.distributed.checkpoint.state_dict"
)


def read(path: Path) -> object:
    """The content of a file of `torch.save`, with its tensors memory-mapped if its format allows.

    A mapped tensor takes no memory until it is used. Files of the format before torch 1.6 are read
    whole.

    Raises:
        FormatError: the pickle asks for more than weights, torch cannot read the file, or it grows
            beyond the limits.
    """
    mappable = _mappable(path)
    beside: set[str] = set()
    while True:
        # timm stores its command line as a Namespace, which runs no code when it is built.
        allowed: list[Any] = [Namespace, *((BESIDE[name], name) for name in beside)]
        try:
            with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the errors below say what matters of them
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
        except Exception as error:  # damaged files raise errors of any type
            asked = {*_asked(path, error)} - beside
            if not asked or asked - BESIDE.keys():
                raise _refusal(path, error, sorted(asked - BESIDE.keys())) from None
            beside |= asked


def _refusal(path: Path, error: Exception, asked: list[str]) -> FormatError:
    if "load DTensors" in str(error) or any(n.startswith("torch.distributed.") for n in asked):
        return FormatError(f"{path}: {SHARDS}")
    if asked:
        names = ", ".join(repr(name) for name in asked)
        return FormatError(
            f"{path}: refused: it asks for {names}, and import takes tensors and plain values "
            "only; nothing of it was run. In the program that wrote it, save the weights "
            "alone, torch.save(model.state_dict(), 'weights.pt'), and import that file"
        )
    reason = str(error).strip().split("\n")[-1] if "only load" not in str(error) else ""
    return FormatError(
        f"{path}: not a checkpoint that torch can read ({type(error).__name__}: "
        f"{reason or 'not a file of torch.save'}); if it was one, it is damaged or cut short: "
        "fetch or save it again"
    )


def _mappable(path: Path) -> bool:
    """Whether the tensors are stored uncompressed; torch would map compressed bytes unnoticed.

    Raises:
        FormatError: the file unpacks to more than the limits (`growth.records`).
    """
    try:
        found = growth.records(path)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OSError) as error:
        if isinstance(error, FormatError):
            raise
        raise _refusal(path, error, []) from None
    return found is not None and all(r.compress_type == zipfile.ZIP_STORED for r in found)


def _asked(path: Path, error: Exception) -> list[str]:
    """What a refused pickle asked for; empty if the file could not be read for another reason."""
    if "TorchScript" in str(error):
        return ["torch.jit.ScriptModule"]
    first = re.findall(r"GLOBAL (\S+)", str(error))
    if not isinstance(error, pickle.UnpicklingError) or not first:
        return []
    first = [name if "." in name else f"builtins.{name}" for name in first]
    try:  # the message names the first only; this lists all, in the present format
        every = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it knows fewer instructions than a hostile pickle
        return first
    return sorted({*every} - {"argparse.Namespace"}) or first
