"""Caveats to the verdict: what failed or is missing, and likely reasons why a soup did not help."""

import math

import pandas as pd

from soup.report import formatting

# Our threshold: a ratio of the largest to the smallest learning rate that deserves a remark. The
# paper (Wortsman et al., 2022) reports that averaging stops helping at high learning rates.
WIDE_RANGE = 30.0
Z = 1.96  # standard errors in half a 95% interval


def caveats(
    results: pd.DataFrame,
    ingredients: pd.DataFrame,
    trace: pd.DataFrame,
    recipe: str,
    score: str = "accuracy",
    unit: str = "images",
) -> list[str]:
    """Return what a reader should know before believing the headline, one sentence or more each.

    Args:
        results, ingredients, trace, recipe, unit: as in `soup.report.page.Report`.
        score: that the candidates of the trace are judged by, and that the accuracies are of.
    """
    sentences = []
    probe = results.loc[results["kind"] == "probe", "model"]
    tuned = ingredients[~ingredients["name"].isin(probe)]
    failed = int((tuned["status"] == "failed").sum())
    finished = len(tuned) - failed
    if failed:
        sentences.append(
            f"{failed} of {len(tuned)} ingredients failed; the table of ingredients says why."
        )
    if finished <= 1:
        sentences.append("Only one ingredient finished, so there was nothing to average it with.")
    elif recipe == "greedy" and int(ingredients["kept"].sum()) == 1:
        reasons = _why_only_one(results, ingredients, trace, score, unit)
        sentences.append(" ".join(["Greedy kept only the best model.", *reasons]))
    if not set(results["split"]) - formatting.SPLITS.keys():
        sentences.append("No shift was evaluated, so robustness to distribution shift is unknown.")
    uniform, worst = _uniform_and_worst(results)
    if uniform < worst:
        sentences.append(
            f"The uniform soup ({formatting.measured(uniform, score)} held-out) is worse than its "
            f"worst ingredient ({formatting.measured(worst, score)}): some do not share a basin. "
            "Check that all start from the same initialisation, and lower the learning rates."
        )
    if not len(results) or bool(results["accuracy"].isna().any()):
        what = "accuracies" if score == "accuracy" else "figures"
        sentences.append(f"Some {what} are missing; the tables show {formatting.MISSING} for them.")
    return sentences


def _why_only_one(
    results: pd.DataFrame, ingredients: pd.DataFrame, trace: pd.DataFrame, score: str, unit: str
) -> list[str]:
    """Return likely reasons why no candidate helped, each with the number that supports it.

    How early a candidate was dropped supports nothing: the judge shows the hardest examples first,
    so that a good candidate is dropped about as early as a bad one.
    """
    reasons = []
    uniform, worst = _uniform_and_worst(results)
    if uniform < worst:
        reasons.append(
            "Averages collapse (see the uniform soup), as happens when models were fine-tuned from "
            "different initialisations (did each get a new head?) or have left the common basin."
        )
    elif uniform >= worst:
        reasons.append(
            f"The uniform soup holds up ({formatting.measured(uniform, score)} held-out), so these "
            "models can be averaged."
        )
    missed = (trace["heldout_errors"] - trace["at_most"]).astype(float)
    missed = missed[~trace["kept"].astype(bool)].dropna()
    if len(missed):
        name = trace["name"][missed.idxmin()]
        least = float(missed.min())
        by = f"{formatting.count(least)} {unit}"
        if score != "accuracy":
            by = f"{100 * least / float(trace['heldout_n'].max()):.2f} points of {score}"
        reasons.append(f"The closest candidate, {name}, missed by {by}.")
    if score == "accuracy" and len(trace) and ingredients["heldout_accuracy"].notna().any():
        images = int(trace["heldout_n"].max())
        best = float(ingredients["heldout_accuracy"].max())
        # Half of Wilson's interval, which is no single point where the accuracy is 0 or 1.
        spread = math.sqrt(best * (1 - best) / images + (Z / images) ** 2 / 4)
        noise = Z * spread / (1 + Z**2 / images)
        reasons.append(
            f"With {images:,} held-out {unit} an accuracy is known to "
            f"±{formatting.percent(noise)} points; if candidates differ by less, hold out more."
        )
    rates = ingredients["lr"].dropna() if "lr" in ingredients else pd.Series(dtype=float)
    if len(rates) and rates.max() > WIDE_RANGE * rates.min():
        low, high = (formatting.setting(float(rate)) for rate in (rates.min(), rates.max()))
        reasons.append(f"Learning rates reach from {low} to {high}; try a narrower range.")
    return reasons


def _uniform_and_worst(results: pd.DataFrame) -> tuple[float, float]:
    """Return held-out accuracy of the uniform soup and of the worst ingredient; NaN if unknown."""
    heldout = results[results["split"] == "heldout"]
    uniform = heldout.loc[heldout["kind"] == "uniform", "accuracy"].max()
    return float(uniform), float(heldout.loc[heldout["kind"] == "ingredient", "accuracy"].min())
