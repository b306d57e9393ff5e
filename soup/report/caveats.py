"""What a careful colleague would add to the verdict: what is missing, what went wrong, and why."""

import math

import pandas as pd

from soup.report import formatting
from soup.report.tables import settings

# Ours, not the paper's: a ratio of largest to smallest learning rate worth a remark. The paper
# has it that averaging stops helping where a learning rate is high.
WIDE = 30.0


def notes(
    results: pd.DataFrame, ingredients: pd.DataFrame, trace: pd.DataFrame, recipe: str
) -> list[str]:
    """Everything that a reader must know before believing the headline; empty when all is well."""
    found = []
    tuned = ingredients[ingredients[settings(ingredients)].notna().any(axis=1)]  # not the probe
    failed = int((tuned["status"] == "failed").sum())
    finished = len(tuned) - failed
    if failed:
        found.append(
            f"{failed} of {len(tuned)} ingredients failed; the table of ingredients says why."
        )
    if finished <= 1:
        found.append("Only one ingredient finished, so there was nothing to average it with.")
    elif recipe == "greedy" and int(ingredients["kept"].sum()) == 1:
        found.append(
            " ".join(["Greedy kept only the best model.", *_why(results, ingredients, trace)])
        )
    if not set(results["split"]) - formatting.SPLITS.keys():
        found.append("No shift was evaluated, so nothing is known of robustness.")
    uniform, worst = _uniform(results)
    if uniform < worst:
        found.append(
            f"The uniform soup ({formatting.percent(uniform)}% held-out) is worse than its worst "
            f"ingredient ({formatting.percent(worst)}%): some do not share a basin. Check that all "
            "start from the same initialisation, and lower the learning rates."
        )
    if not len(results) or bool(results["accuracy"].isna().any()):
        found.append(f"Some accuracies are missing; they read as {formatting.MISSING}.")
    return found


def _why(results: pd.DataFrame, ingredients: pd.DataFrame, trace: pd.DataFrame) -> list[str]:
    """Likely reasons why no candidate helped, each with the number that it rests on.

    How soon a candidate was dropped is no such number: the judge shows the hardest images first,
    so a near miss is dropped about as soon as a wreck.
    """
    reasons = []
    uniform, worst = _uniform(results)
    if uniform < worst:
        reasons.append(
            "Averages collapse (see the uniform soup), as they do when models differ in their "
            "initialisation (a fresh head each?) or have left its basin."
        )
    elif uniform >= worst:
        reasons.append(
            f"The uniform soup holds up ({formatting.percent(uniform)}% held-out), so averaging as "
            "such does not break these models."
        )
    missed = (trace["heldout_errors"] - trace["at_most"]).astype(float)
    missed = missed[~trace["kept"].astype(bool)].dropna()
    if len(missed):
        name = trace["name"][missed.idxmin()]
        reasons.append(f"{name} missed by {formatting.count(float(missed.min()))} images.")
    if len(trace) and ingredients["heldout_accuracy"].notna().any():
        images = int(trace["heldout_n"].max())
        best = float(ingredients["heldout_accuracy"].max())
        noise = 1.96 * math.sqrt(best * (1 - best) / images)
        reasons.append(
            f"With {images:,} held-out images an accuracy is known to "
            f"±{formatting.percent(noise)} points; if candidates differ by less, hold out more."
        )
    rates = ingredients["lr"].dropna() if "lr" in ingredients else pd.Series(dtype=float)
    if len(rates) and rates.max() > WIDE * rates.min():
        low, high = (formatting.setting(float(rate)) for rate in (rates.min(), rates.max()))
        reasons.append(f"Learning rates reach from {low} to {high}; try a narrower range.")
    return reasons


def _uniform(results: pd.DataFrame) -> tuple[float, float]:
    """Held-out accuracy of the uniform soup and of the worst ingredient; NaN where unknown."""
    on = results[results["split"] == "heldout"]
    uniform = on.loc[on["kind"] == "uniform", "accuracy"].max()
    return float(uniform), float(on.loc[on["kind"] == "ingredient", "accuracy"].min())
