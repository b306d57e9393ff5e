"""Reading files of `torch.save` without running code from them.

A pickle is a program. `weights_only=True` allows it to build tensors and plain containers only; a
pickle that asks for anything else is refused, and the message names what it asked for. There is
deliberately no option to allow more.
"""

import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path

import torch

from soup.models.conversion.errors import FormatError


def read(path: Path) -> object:
    """The content of a file of `torch.save`, with its tensors memory-mapped if its format allows.

    A mapped tensor takes no memory until it is used. Files of the format before torch 1.6 are read
    whole.

    Raises:
        FormatError: the pickle asks for more than weights, or torch cannot read the file.
    """
    try:
        # timm stores its command line as a Namespace, which runs no code when it is built.
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below say what matters of them
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    except Exception as error:  # damaged files raise errors of any type
        asked = ", ".join(repr(name) for name in _asked(path, error))
        if asked:
            raise FormatError(
                f"{path}: refused: it asks for {asked}, and import takes tensors and plain values "
                "only; nothing of it was run. In the program that wrote it, save the weights "
                "alone, torch.save(model.state_dict(), 'weights.pt'), and import that file"
            ) from None
        reason = str(error).strip().split("\n")[-1] if "only load" not in str(error) else ""
        raise FormatError(
            f"{path}: not a checkpoint that torch can read ({type(error).__name__}: "
            f"{reason or 'not a file of torch.save'}); if it was one, it is damaged or cut short: "
            "fetch or save it again"
        ) from None


def _mappable(path: Path) -> bool:
    """Whether the tensors are stored uncompressed; torch would map compressed bytes unnoticed."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _asked(path: Path, error: Exception) -> list[str]:
    """What a refused pickle asked for; empty if the file could not be read for another reason."""
    if "TorchScript" in str(error):
        return ["torch.jit.ScriptModule"]
    first = re.findall(r"GLOBAL (\S+)", str(error))
    if not isinstance(error, pickle.UnpicklingError) or not first:
        return []
    try:  # the message names the first only; this lists all, in the present format
        every = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it knows fewer instructions than a hostile pickle
        return first
    return sorted({*every} - {"argparse.Namespace"}) or first
