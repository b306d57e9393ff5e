"""What a soup costs: to use, and to make."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from soup.report import formatting


class Cost(NamedTuple):
    """A cost in words.

    Attributes:
        name: what costs.
        value: the figure, with its unit.
        notes: what it is compared with, or what it does not include.
    """

    name: str
    value: str
    notes: tuple[str, ...]


def to_use(members: int) -> Cost:
    """The cost of an answer.

    Args:
        members: models in the ensemble; 0 if that is not known.
    """
    ensemble = (
        f"the ensemble runs all {members}" if members > 1 else "an ensemble runs every member"
    )
    return Cost("To use", "1 model", ("as large and as fast as one ingredient", ensemble))


def to_make(
    results: pd.DataFrame,
    recipe: str,
    costs: Mapping[str, Mapping[str, formatting.Number]],
    stage_seconds: Mapping[str, formatting.Number],
    unit: str,
) -> Cost:
    """The cost of making the soup from its ingredients; fine-tuning those is told beside it.

    The arguments are those of `soup.report.page.Report`.
    """
    known = costs.get(recipe)
    rows = results[(results["kind"] == recipe) & (results["split"] == "heldout")]
    images = float(rows["n"].iloc[0]) if len(rows) else math.nan
    notes = []
    if known and not math.isnan(images):
        notes.append(f"over {formatting.count(images)} held-out {unit}")
    if "finetune" in stage_seconds:
        notes.append(f"after {formatting.duration(stage_seconds['finetune'])} of fine-tuning")
    if known is None:
        return Cost("To make", "unknown", ("it was not recorded", *notes))
    passes = f"{known['passes']:.1f}"
    value = f"{passes} pass{'' if passes == '1.0' else 'es'}, "
    took = formatting.duration(known["seconds"]).replace(" ", "\u00a0")
    return Cost("To make", value + took, tuple(notes))
