"""Files of `torch.save`, read without running them: they may build tensors and plain containers.

A pickle is a program. `weights_only=True` interprets it with an allow-list, and whatever else it
asks for is named and refused. There is no way round that here, on purpose.
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
    """What a file of `torch.save` holds, its tensors mapped from the file where its format allows.

    A mapped tensor takes no memory of its own. The format from before torch 1.6 is read whole.

    Raises:
        FormatError: the pickle asks for more than weights, or torch cannot read the file.
    """
    try:
        # timm keeps its command line in a Namespace, which is as inert as a dictionary.
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is in the errors below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    except Exception as error:  # damaged files raise any kind; all mean the same here
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
    """Whether tensors lie in the file as they are in memory; torch would not notice that not."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _asked(path: Path, error: Exception) -> list[str]:
    """What a refused pickle asked for; empty if that is not why it could not be read."""
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
