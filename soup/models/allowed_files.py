"""The files that a registered model may consist of, and their digests.

A registered model holds safetensors and JSON, and no code: the installed package loads it. Its file
`MLmodel` states the SHA-256 of every other file. Models of earlier releases also hold a copy of
the package's source, which is never imported here, and state no digests.

A model folder with any other file is refused before MLflow loads it, because MLflow unpickles any
file that the folder's description tells it to.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup.config.yaml_text import read_yaml
from soup.errors import BadInput, some
from soup.files import of_file

LOADER = "soup.serving"
DESCRIPTION = "MLmodel"
METADATA = "modelsoup"  # our part of the metadata in MLmodel
# The files of an MLflow pyfunc; registered_model_meta is added when MLflow downloads a model.
ALLOWED = re.compile(
    r"MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|registered_model_meta"
    r"|data/[\w.-]+/((open_clip_)?model\.safetensors|README\.md"
    r"|(model|config|open_clip_config|tokenizer|tokenizer_config|special_tokens_map)\.json)"
    r"|code/soup/([\w-]+/)*[\w.-]+\.(py|css|j2|typed)"
)


class Refused(BadInput, RuntimeError):
    """A model folder has files that are not allowed or were changed; the message lists them all."""


def digests(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Path in the folder -> SHA-256, for every file that was stored.

    Args:
        known: some of them, which are not computed again.
    """
    known = known or {}
    return {
        path: known.get(path) or of_file(folder / path)
        for path in _files(folder)
        if path != "registered_model_meta"
    }


def verify_model(folder: Path, whose: str) -> str:
    """Check a registered model before any of its files but MLmodel is read.

    Args:
        folder: of the model, with the file MLmodel.
        whose: name of the model, for the error message.

    Returns:
        A sentence on what could not be checked, because the model was registered by a release that
        stated no digests; '' if everything was checked.

    Raises:
        Refused: a file is not allowed, was changed, added or is missing.
    """
    require_allowed_files(folder, whose)
    stated = stated_digests(folder, whose)
    if stated is None:
        return (
            f"{whose} was registered by an earlier release: its MLmodel states no digests, so that "
            "changed weights would not be noticed; register it again"
        )
    verify_digests(folder, stated, whose)
    return ""


def stated_digests(folder: Path, whose: str) -> dict[str, str] | None:
    """The digests in a model's own metadata: path in the folder -> SHA-256, of all but MLmodel.

    Returns:
        The digests, or None if the model was registered by a release that stated none.

    Raises:
        Refused: what MLmodel states cannot be used, or it asks for code to be imported.
    """
    description = _description(folder)
    metadata = description.get("metadata")
    if not isinstance(metadata, dict) or METADATA not in metadata:
        return None
    own = metadata[METADATA]
    files = own.get("files") if isinstance(own, dict) else None
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise Refused(f"{whose} is refused: the digests in its MLmodel are damaged")
    if description["flavors"]["python_function"].get("code") is not None:
        raise Refused(f"{whose} is refused: its MLmodel asks for code of its own to be imported")
    return {str(path): digest for path, digest in files.items()}


def digests_to_state(folder: Path, known: Mapping[str, str]) -> dict[str, Any]:
    """The metadata that `stated_digests` reads, for a folder as it is now.

    Args:
        known: some of the digests, by path in the folder.
    """
    files = {path: digest for path, digest in digests(folder, known).items() if path != DESCRIPTION}
    return {METADATA: {"files": files}}


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
            f"{whose} is refused: it holds {some(strange, 5)}; models of this project hold "
            "safetensors and JSON, never a pickle"
        )
    loaders = _loaders(folder)
    if loaders != {"python_function": LOADER}:
        raise Refused(f"{whose} is refused: its MLmodel asks for {loaders}, not for {LOADER}")


def verify_digests(folder: Path, stored: Mapping[str, str], whose: str) -> None:
    """Check every file against its digest at registration.

    Args:
        folder: of the model.
        stored: path in the folder -> SHA-256 at registration. MLmodel is checked if it is among
            them.
        whose: name of the model, for the error message.

    Raises:
        Refused: files were changed, added or are missing.
    """
    present = digests(folder)
    if DESCRIPTION not in stored:
        present.pop(DESCRIPTION, None)
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


def _loaders(folder: Path) -> dict[str, str]:
    """MLflow flavor -> the module that loads the model; empty if MLmodel does not say."""
    flavors = _description(folder).get("flavors")
    if not isinstance(flavors, dict):
        return {}
    loaders = {}
    for name, flavor in flavors.items():
        module = flavor.get("loader_module") if isinstance(flavor, dict) else None
        loaders[str(name)] = module if isinstance(module, str) else "none"
    return loaders


def _description(folder: Path) -> dict[str, Any]:
    """The content of MLmodel; empty if it cannot be read as a mapping."""
    try:
        found = read_yaml(folder / DESCRIPTION)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> list[str]:
    # A link counts as a file, whatever it points to, so that its name is checked.
    files = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    return sorted(p.relative_to(folder).as_posix() for p in files)
