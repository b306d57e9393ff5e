"""What `soup try` compares: the models of a finished project, or those in a folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from soup.errors import BadInput, near, some

if TYPE_CHECKING:
    from soup.serving.side_by_side import Entry
    from soup.weights.checkpoint import Checkpoint

RECORDS = ("prepare.json", "cook.json")  # in the results of a project
SAFETENSORS = "*.safetensors"
RANKED = ("greedy",)  # recipes whose first ingredient is the best single model
COOK = "soup cook --model timm:NAME --heldout HELDOUT --out {}/soup/model.safetensors {}/*"


def entries_of(folder: Path, single: str | None = None) -> "list[Entry]":
    """Best single model, soup and ensemble of a folder.

    Args:
        folder: a project's out/EXPERIMENT, or a folder of model folders, one of which is a soup of
            others.
        single: the name of the single model, where the best is not known.

    Raises:
        BadInput: the folder has no such models.
    """
    from soup.serving.side_by_side import Entry

    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder")
    if any((folder / name).is_file() for name in RECORDS):
        from soup.pipeline.finished_models import finished_models  # it needs MLflow

        if single is not None:
            raise BadInput("--single is of a folder of models: a project knows its best one")
        (name, best), (recipe, soup), members = finished_models(folder)
        entries = [
            Entry("best single", f"`{name}`", (best,)),
            Entry("soup", _of(recipe, len(members)), (soup,)),
        ]
        return _with_ensemble(entries, members)
    return _of_folder(folder, single)


def _of_folder(folder: Path, single: str | None) -> "list[Entry]":
    from soup.serving.side_by_side import Entry

    models = _models(folder)
    if not models:
        raise BadInput(
            f"{folder} has no folders of models, nor is it out/EXPERIMENT of a finished project"
        )
    soups = {n: made for n, model in models.items() if (made := _ingredients(model))}
    if not soups:
        raise BadInput(
            f"{folder} has no soup among its {len(models)} models: {COOK.format(folder, folder)}"
        )
    if len(soups) > 1:
        raise BadInput(
            f"{folder} has several soups ({some([*soups], 5)}): a folder with one of them, beside "
            "its models, can be tried"
        )
    [(soup, made)] = soups.items()
    by_digest = _by_digest({name: model for name, model in models.items() if name != soup})
    members = [by_digest[digest] for digest in made.values() if digest in by_digest]
    if not members:
        raise BadInput(
            f"{folder} has none of the models that {soup} was made of ({some([*made], 5)}): put "
            "their folders beside it"
        )
    others = [name for name in models if name != soup]
    if single is not None and single not in others:
        raise BadInput(f"--single {single}: {folder} has {some(others, 8)}{near(single, others)}")
    recipe = models[soup].metadata["recipe"]
    first = next(iter(made.values()))
    knows_best = single is not None or (recipe in RANKED and first in by_digest)
    chosen = single or members[0]
    lacking = [name for name, digest in made.items() if digest not in by_digest]
    entries = [
        Entry("best single" if knows_best else "single", f"`{chosen}`", (folder / chosen,)),
        Entry("soup", _of(recipe, len(made)), (folder / soup,)),
    ]
    if lacking:
        from soup.cli.terminal import warn

        warn(f"no ensemble: {some(lacking, 5)} of the soup is not in {folder}")
        return entries
    return _with_ensemble(entries, [folder / name for name in members])


def _models(folder: Path) -> "dict[str, Checkpoint]":
    """The checkpoints in the folders of a folder, by name."""
    from soup.weights.checkpoint import Checkpoint

    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and next(path.glob(SAFETENSORS), None):
            found[path.name] = Checkpoint(path)
    return found


def _by_digest(models: "Mapping[str, Checkpoint]") -> dict[str, str]:
    """Names by digest, which takes long where the models are large."""
    from soup.cli.terminal import progress

    names = {}
    with progress("reading", len(models), "models") as advance:
        for name, model in models.items():
            names[model.digest()] = name
            advance(1)
    return names


def _ingredients(model: "Checkpoint") -> dict[str, str]:
    """Name -> digest of what a soup was made of; empty of a model that is no soup.

    Raises:
        BadInput: the metadata is damaged.
    """
    if "recipe" not in model.metadata or "ingredients" not in model.metadata:
        return {}
    try:
        made = json.loads(model.metadata["ingredients"])
    except ValueError:
        made = None
    if not isinstance(made, Mapping) or not all(isinstance(d, str) for d in made.values()):
        raise BadInput(f"{model.path}: its metadata names its ingredients in a way that is unknown")
    return dict(made)


def _of(recipe: str, count: int) -> str:
    from soup.cli.terminal import amount

    return f"{recipe} of {amount(count, 'model')}"


def _with_ensemble(entries: "list[Entry]", members: "list[Path]") -> "list[Entry]":
    """The entries, and the ensemble of a soup's models if there are several and memory for all."""
    from psutil import virtual_memory

    from soup.serving.side_by_side import Entry

    if len(members) < 2:
        return entries
    folders = {*members, *(folder for entry in entries for folder in entry.folders)}
    needed = sum(file.stat().st_size for folder in folders for file in folder.glob(SAFETENSORS))
    free = virtual_memory().available
    if needed > free:
        from soup.cli.terminal import warn

        warn(
            f"no ensemble: with its {len(members)} models all take {needed / 1e9:.1f} GB of "
            f"memory, and {free / 1e9:.1f} GB are free"
        )
        return entries
    return [*entries, Entry("ensemble", f"of the same {len(members)} models", tuple(members))]
