"""A soup in a folder of its own, as the library of its models opens it, with a model card."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soup.files import write_text
from soup.models.licence import CARD_FILE
from soup.report.model_card import Card, Figure, card_text

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.models import Architecture

# The names of weights by which libraries know a folder.
WEIGHTS = ("model.safetensors", "open_clip_model.safetensors")
OURS = '"modelsoup"'  # among the tags of a card that this project wrote


def complete_folder(
    out: Path,
    pool: "Pool",
    notes: Mapping[str, str],
    figures: Mapping[str, Any],
    base: str | None,
) -> list[str]:
    """Put beside a soup what its library needs, and a model card.

    Nothing is written unless the file's name is one by which libraries know a folder. A model card
    that is there is replaced only if this project wrote it.

    Args:
        out: the soup's file.
        notes: the metadata of the soup's file.
        figures: what `soup_quality.judged` returns; empty without held-out examples.
        base: what --base names.

    Returns:
        The names of the files beside the soup.
    """
    if out.name not in WEIGHTS:
        return []
    from soup.models.published_files import copy_beside

    folder = out.parent
    first = next(iter(pool.checkpoints.values()))
    source = Path(first.files[0]).parent
    architecture = _described(out, pool, notes)
    written = [] if source.resolve() == folder.resolve() else copy_beside(source, folder)
    card = folder / CARD_FILE
    if not card.exists() or OURS in card.read_text(encoding="utf-8", errors="replace")[:4096]:
        write_text(card, card_text(_card(folder, notes, figures, base, architecture)))
        written.append(CARD_FILE)
    return written


def _described(out: Path, pool: "Pool", notes: Mapping[str, str]) -> "Architecture | None":
    """The architecture of the soup, which is written beside it; None if it is not known whole."""
    from soup.cli.checkpoints import TOKENIZER
    from soup.models import Architecture, ModelError, write_description
    from soup.models.stored_description import NOTE

    first = next(iter(pool.checkpoints.values()))
    architecture = None
    if (Path(first.files[0]).parent / TOKENIZER).is_file():
        from soup.models.text_by_folder import text_architecture

        architecture = text_architecture(first)
    elif NOTE in notes:
        with suppress(ModelError):  # the class names are not known, or the size of the images
            architecture = Architecture.parse(notes[NOTE], str(out))
    if architecture is not None:
        with suppress(ModuleNotFoundError):  # averaged where the library is not installed
            write_description(architecture, out.parent)
    return architecture


def _card(
    folder: Path,
    notes: Mapping[str, str],
    figures: Mapping[str, Any],
    base: str | None,
    architecture: "Architecture | None",
) -> Card:
    from soup.models.licence import Origin, beside, timm_origin

    kept = json.loads(notes["ingredients"])
    origin, described = Origin(), "not known: give --base"
    if base is not None:
        origin, described = beside(base), f"{base}, SHA-256 {notes['base']}"
    elif architecture is not None and architecture.library == "timm" and "." in architecture.model:
        origin = timm_origin(architecture.model)
        described = f"timm:{architecture.model}"
    elif "base" in notes:
        described = f"SHA-256 {notes['base']}"
    return Card(
        title=folder.resolve().name,
        library=_library(folder, architecture),
        unit="images" if architecture is None else architecture.unit,
        base=described,
        hub=origin.hub,
        licence=origin.licence,
        stated_by=origin.source,
        recipe=notes["recipe"],
        ingredients=kept,
        figures=_figures(figures),
        classes=() if architecture is None else architecture.classes,
    )


def _library(folder: Path, architecture: "Architecture | None") -> str:
    """The library that opens the folder; '' if none does."""
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    if architecture is not None:
        return "" if architecture.library == "open_clip" else architecture.library
    from soup.models import ModelError
    from soup.models.stored_description import beside

    try:
        return str(beside(folder).fields.get("library", ""))
    except ModelError:
        return ""


def _figures(figures: Mapping[str, Any]) -> list[Figure]:
    """The accuracy on the held-out examples, with its interval."""
    score, count = figures.get("soup", {}).get("accuracy"), figures.get("examples", 0)
    if score is None or not count:
        return []
    import numpy as np

    from soup.evaluation.metrics import accuracy_interval

    right = np.arange(count) < round(score * count)
    low, high = accuracy_interval([right], resamples=1000, confidence=0.95, seed=0)
    return [Figure("held-out, which chose the soup", "accuracy", score, low, high, count)]
