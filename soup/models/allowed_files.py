"""The files that a registered model may consist of: safetensors, JSON and this package's source.

A model folder with any other file is refused before MLflow loads it, because MLflow unpickles any
file that the folder's description tells it to.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from soup.errors import BadInput
from soup.files import of_file

LOADER = "soup.serving"
# The files of an MLflow pyfunc; registered_model_meta is added when MLflow downloads a model.
ALLOWED = re.compile(
    r"MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|registered_model_meta"
    r"|data/[\w.-]+/model\.(json|safetensors)|code/soup/([\w-]+/)*[\w.-]+\.(py|css|j2|typed)"
)


class Refused(BadInput, RuntimeError):
    """A model folder has files that are not allowed or were changed; the message lists them all."""


def digests(folder: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256, for every file that was stored."""
    return {
        path: of_file(folder / path) for path in _files(folder) if path != "registered_model_meta"
    }


def require_allowed_files(folder: Path, whose: str) -> None:
    """Check the names of the files in a model folder; only the file MLmodel is read.

    Args:
        folder: of the model.
        whose: name of the model, for the error message.

    Raises:
        Refused: a file is not allowed, or MLmodel asks for another loader.
    """
    strange = [path for path in _files(folder) if not ALLOWED.fullmatch(path)]
    if strange:
        raise Refused(
            f"{whose} is refused: it holds {', '.join(strange)}; models of this project hold "
            "safetensors, JSON and this package's source, never a pickle"
        )
    loaders = _loaders(folder / "MLmodel")
    if loaders != {"python_function": LOADER}:
        raise Refused(f"{whose} is refused: its MLmodel asks for {loaders}, not for {LOADER}")


def verify_digests(folder: Path, stored: Mapping[str, str], whose: str) -> None:
    """Check every file against its digest at registration.

    Args:
        folder: of the model.
        stored: path in the folder -> SHA-256 at registration.
        whose: name of the model, for the error message.

    Raises:
        Refused: files were changed, added or are missing.
    """
    present = digests(folder)
    wrong = {
        "changed": sorted(p for p in present.keys() & stored.keys() if present[p] != stored[p]),
        "added": sorted(present.keys() - stored.keys()),
        "missing": sorted(stored.keys() - present.keys()),
    }
    problems = [f"{', '.join(paths)} ({how})" for how, paths in wrong.items() if paths]
    if problems:
        raise Refused(
            f"{whose} is refused: it is not what was registered: {'; '.join(problems)}; "
            "restore the files, or register the soup again"
        )


def _loaders(description: Path) -> dict[str, str]:
    """MLflow flavor -> the module that loads the model; empty if the file cannot be read."""
    try:
        flavors = yaml.safe_load(description.read_text())["flavors"]
        return {str(name): str(flavor.get("loader_module")) for name, flavor in flavors.items()}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


def _files(folder: Path) -> list[str]:
    # A link counts as a file, whatever it points to, so that its name is checked.
    files = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    return sorted(p.relative_to(folder).as_posix() for p in files)
