"""The model card beside the pipeline's soup, from what its stages have recorded."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from soup.files import read_json, write_text
from soup.pipeline.project import Project
from soup.report.model_card import Card, Figure, card_text

CARD_FILE = "README.md"


def write_card(
    project: Project,
    record: Mapping[str, Any],
    ingredients: Mapping[str, str],
    figures: Sequence[Figure],
    facts: Mapping[str, str],
    verdict: Sequence[str] = (),
) -> Path:
    """Write the card of the soup into its folder.

    Args:
        record: what cook returns: the recipe, and what is known of the base (`origin`).
        ingredients: name -> SHA-256 of the weights.
        figures: the soup's scores.
        facts: more lines on where it is from.
        verdict: sentences on whether it is better than the best single model.

    Returns:
        The file.
    """
    params, folder = project.params, project.out / "soup"
    known = {"hub": "", "licence": "", "source": "", **record.get("origin", {})}
    library = params.base.library
    description = folder / "model.json"
    described = read_json(description) if description.is_file() else {}
    opens = library != "open_clip" or (folder / "open_clip_model.safetensors").is_file()
    card = Card(
        title=params.registry.model,
        library=library if opens else "",
        unit=project.unit,
        base=f"{library}:{params.base.model}, weights: {params.base.weights}",
        hub=known["hub"],
        licence=known["licence"],
        stated_by=known["source"],
        recipe=record["recipe"],
        ingredients=ingredients,
        data=params.experiment,
        figures=figures,
        confidence=params.evaluate.confidence,
        verdict=verdict,
        classes=described.get("classes", ()),
        facts=facts,
    )
    write_text(folder / CARD_FILE, card_text(card))
    return folder / CARD_FILE


def figures_in(results: pd.DataFrame, recipe: str, measure: str) -> list[Figure]:
    """The scores of the soup in evaluate's table, by split."""
    rows: Iterable[Any] = results[results["kind"] == recipe].to_dict("records")
    return [
        Figure(row["split"], measure, row[measure], row["low"], row["high"], int(row["n"]))
        for row in rows
        if not math.isnan(row[measure])
    ]
