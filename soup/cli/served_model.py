"""Download the model that `soup serve` names, and check it before anything opens it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from soup.errors import BadInput

CACHE = Path(".cache/soup/registry")
LONGEST_SIGNATURE = 1 << 20  # bytes; ours have 2,000
T = TypeVar("T")


class Checked(NamedTuple):
    """A checked model.

    Attributes:
        folder: holds `model.json` and `model.safetensors`.
        whose: name of the model.
        warning: says what was not checked; '' if everything was.
    """

    folder: Path
    whose: str
    warning: str


def checked(model: str, registry: str | None, public_key: Path | None) -> Checked:
    """Download a model and check it.

    This runs in a process of its own, because MLflow and model-signing would take 200 MB in every
    process of the server.

    Args:
        model: a folder, or a name as `named` takes it.
        registry: its URI; None for that of the environment or the project.
        public_key: the key that the signature must match; None if no signature is required.

    Raises:
        BadInput: there is no such model, or it is refused; the message gives the reason.
    """
    if Path(model).is_dir():
        return _apart(_of_folder, Path(model), public_key)
    if Path(model).is_file():
        raise BadInput(f"{model} is a file: give the folder of a model, with its model.json")
    return _apart(_of_registry, *named(model), registry, public_key)


def named(model: str) -> tuple[str, str]:
    """The name and the alias or number of a registered model: NAME@ALIAS, NAME/NUMBER, models:/...

    Raises:
        BadInput: the name has none of these forms.
    """
    found = re.fullmatch(r"(?:models:/)?([^@/:]+)(?:@([^@/:]+)|/(\d+))", model)
    if found is None:
        raise BadInput(
            f"{model}: there is no such folder; a registered model is given as NAME@champion, or "
            "NAME/3 for its version 3"
        )
    return found[1], found[2] or found[3]


def _of_registry(name: str, which: str, registry: str | None, public_key: Path | None) -> Checked:
    from soup import tracking
    from soup.files import of_value
    from soup.models.allowed_files import verify_model

    store = tracking.registry_at(registry or tracking.default_uri(Path()))
    version = tracking.version(store, name, which)
    target = CACHE / of_value([store.uri, version.model, version.number])
    folder = tracking.fetch(store, version, target)
    whose = f"{version} of {store.uri}"
    _require_signature(target, version.tags.get(tracking.SIGNATURE, ""), public_key, whose)
    return Checked(folder, whose, verify_model(target, whose))


def _of_folder(root: Path, public_key: Path | None) -> Checked:
    from soup.models.allowed_files import verify_model

    beside = Path(f"{root.resolve()}.sig")
    signature = ""
    if beside.is_file():
        with beside.open("rb") as file:
            signature = file.read(LONGEST_SIGNATURE).decode("utf-8", "replace")
    _require_signature(root, signature, public_key, str(root))
    if (root / "MLmodel").is_file():
        warning = verify_model(root, str(root))
        folders = [file.parent for file in root.glob("data/*/model.json")]
    else:
        warning = f"{root} is no registered model: its files have no digests to check"
        folders = [root] if (root / "model.json").is_file() else []
    if not folders:
        raise BadInput(f"{root} holds no model.json, which says what model the weights are of")
    return Checked(folders[0], str(root), warning)


def _require_signature(root: Path, signature: str, public_key: Path | None, whose: str) -> None:
    if public_key is not None:
        from soup.serving.signatures import verify

        verify(root, signature, public_key, whose)


def _apart(function: Callable[..., T], *arguments: object) -> T:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()
