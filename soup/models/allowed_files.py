"""What a registered model may hold: weights as safetensors, JSON, and this package's source.

Anything else is refused by name before it is read. MLflow would unpickle what a model folder tells
it to; a folder of ours has nothing that could be.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from soup.errors import BadInput
from soup.files import of_file

LOADER = "soup.serving"
# As MLflow lays out a pyfunc; registered_model_meta is written by its download, not stored.
OURS = re.compile(
    r"MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|registered_model_meta"
    r"|data/[\w.-]+/model\.(json|safetensors)|code/soup/([\w-]+/)*[\w.-]+\.(py|css|j2)"
)


class Refused(BadInput, RuntimeError):
    """A model folder that holds what is not ours; the message names every such file."""


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that was stored, by its path in the folder."""
    return {path: of_file(folder / path) for path in _files(folder) if path != _META}


def require_allowed_files(folder: Path, whose: str) -> None:
    """Check the kinds of the files in a model folder, none of which is read.

    Raises:
        Refused: a file is not of the kinds that we write, or another loader is asked for.
    """
    strange = [path for path in _files(folder) if not OURS.fullmatch(path)]
    if strange:
        raise Refused(
            f"{whose} is refused: it holds {', '.join(strange)}; models of this project hold "
            "safetensors, JSON and this package's source, never a pickle"
        )
    loaders = _loaders(folder / "MLmodel")
    if loaders != {"python_function": LOADER}:
        raise Refused(f"{whose} is refused: its MLmodel asks for {loaders}, not for {LOADER}")


def verify_digests(folder: Path, stored: Mapping[str, str], whose: str) -> None:
    """Check every file against the digest that it was registered with.

    Raises:
        Refused: files were changed, added or are missing.
    """
    found = digests(folder)
    wrong = {
        "changed": sorted(p for p in found.keys() & stored.keys() if found[p] != stored[p]),
        "added": sorted(found.keys() - stored.keys()),
        "missing": sorted(stored.keys() - found.keys()),
    }
    told = [f"{', '.join(paths)} ({how})" for how, paths in wrong.items() if paths]
    if told:
        raise Refused(
            f"{whose} is refused: it is not what was registered: {'; '.join(told)}; "
            "restore the files, or register the soup again"
        )


def _loaders(description: Path) -> dict[str, str]:
    """What would read the model, by MLflow's flavors of it; empty for a file that does not say."""
    try:
        flavors = yaml.safe_load(description.read_text())["flavors"]
        return {str(name): str(flavor.get("loader_module")) for name, flavor in flavors.items()}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


_META = "registered_model_meta"


def _files(folder: Path) -> list[str]:
    # A link could lead anywhere: it counts as a file, and its name decides.
    found = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    return sorted(p.relative_to(folder).as_posix() for p in found)
