"""The headline: is the soup better than the best single model, and is that more than noise?"""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from soup.report import formatting

Outcome = Literal["better", "worse", "within noise", "the same", "unknown"]

SIGNIFICANT = 0.05
PHRASES: dict[Outcome, str] = {
    "better": "beats {}",
    "worse": "is worse than {}",
    "within noise": "is within noise of {}",
    "the same": "answers exactly like {}",
    "unknown": "could not be compared with {}",
}


@dataclass(frozen=True)
class Verdict:
    """One sentence, the numbers behind it, and the outcome on each split that it speaks of."""

    headline: str
    details: tuple[str, ...]
    outcomes: dict[str, Outcome]


def outcome(
    difference: float, low: float, high: float, p_value: float, differing: float
) -> Outcome:
    """What a paired comparison says, at 95%; `differing` images are answered differently.

    Interval and test must agree before anything is called better or worse; where only one of
    them is known it decides alone, and where neither is, nothing is claimed.
    """
    if differing == 0 and difference == 0:
        return "the same"
    evidence = []
    if not (math.isnan(low) or math.isnan(high)):
        evidence.append(low > 0 or high < 0)
    if not math.isnan(p_value):
        evidence.append(p_value < SIGNIFICANT)
    if not evidence or math.isnan(difference):
        return "unknown"
    if not all(evidence):
        return "within noise"
    return "better" if difference > 0 else "worse"


def outcomes(tests: pd.DataFrame) -> dict[str, Outcome]:
    """The outcome on each tested split."""
    numbers = tests[["difference", "low", "high", "p_value"]].astype(float)
    numbers["differing"] = tests["soup_only"].astype(float) + tests["single_only"].astype(float)
    rows = zip(tests["split"], numbers.itertuples(index=False, name=None), strict=True)
    return {str(split): outcome(*row) for split, row in rows}


def verdict(results: pd.DataFrame, tests: pd.DataFrame, recipe: str) -> Verdict:
    """The soup made by `recipe` against the best single model, on test and on the shifts' mean."""
    known = outcomes(tests)
    shifts = set(results["split"]) - formatting.SPLITS.keys()
    splits = ["test", "shifts"] if shifts else ["test"]
    said = {split: known.get(split, "unknown") for split in splits}
    where = {"test": "on test", "shifts": f"on the mean of {len(shifts)} shifts"}
    if len(shifts) == 1:
        where["shifts"] = f"on {min(shifts)}, the only shift"
    first, last = said["test"], said[splits[-1]]
    text = f"The {recipe} soup {PHRASES[first].format('the best single model')} {where['test']}"
    if len(splits) == 2 and first == last:
        text += f" and {where['shifts']}"
    elif len(splits) == 2:
        text += f", but {PHRASES[last].format('it')} {where['shifts']}"
    details = [_detail(results, tests, recipe, split, said[split]) for split in splits]
    single = {split: known[split] for split in known if split in shifts}
    if len(single) > 1:
        details.append(_by_shift(single))
    return Verdict(text + ".", tuple(details), said)


def _by_shift(said: dict[str, Outcome]) -> str:
    """A mean can hide a loss, so each shift is named."""
    groups = {
        result: [split for split, found in said.items() if found == result] for result in PHRASES
    }
    parts = [f"{result} on {', '.join(names)}" for result, names in groups.items() if names]
    return f"Shift by shift: {'; '.join(parts)}."


def _detail(
    results: pd.DataFrame, tests: pd.DataFrame, recipe: str, split: str, said: Outcome
) -> str:
    on = results[results["split"] == split].drop_duplicates("kind").set_index("kind")
    soup, single = (float(on["accuracy"].get(kind, math.nan)) for kind in (recipe, "best single"))
    name = formatting.split(split).capitalize()
    text = f"{name}: {formatting.percent(soup)}% against {formatting.percent(single)}%"
    row = tests[tests["split"] == split]
    if said == "unknown" or row.empty:
        return f"{text}. There is no paired test, so nothing is claimed."
    if said == "the same":
        return f"{text}. Not one answer differs."
    difference, low, high, p = (
        float(row[column].iloc[0]) for column in ("difference", "low", "high", "p_value")
    )
    change = "gain" if difference > 0 else "loss" if difference < 0 else "difference"
    evidence = []
    if not math.isnan(low + high):
        evidence.append(f"95% interval {formatting.points(low)} to {formatting.points(high)}")
    if not math.isnan(p):
        sign = "" if p < 0.001 else "= "
        evidence.append(f"p {sign}{formatting.probability(p)}".replace(" ", "\u00a0"))
    text += f", a {change} of {abs(100 * difference):.2f} points ({'; '.join(evidence)})"
    if said == "within noise":
        images = float(on["n"].get(recipe, math.nan))
        many = "these" if math.isnan(images) else formatting.count(images)
        return f"{text}. This is within noise: {many} images cannot tell them apart."
    return f"{text}. This is more than noise."
