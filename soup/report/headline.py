"""The verdict: whether the soup is better than the best single model, and by more than noise."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from soup.report import formatting

Outcome = Literal["better", "worse", "within noise", "the same", "unknown"]

SIGNIFICANT = 0.05
PHRASES: dict[Outcome, str] = {
    "better": "beats {}",
    "worse": "is worse than {}",
    "within noise": "is within noise of {}",
    "the same": "does exactly as well as {}",
    "unknown": "could not be compared with {}",
}


class Words(NamedTuple):
    """What the figures and the examples are called.

    Attributes:
        measure: name of the score, such as 'accuracy'.
        unit: 'images' or 'texts'.
        interval: name of the intervals, such as '95% interval'.
    """

    measure: str
    unit: str
    interval: str


class Comparison(NamedTuple):
    """The soup beside the best single model on a split, in words.

    Attributes:
        split: its name, at the start of a sentence.
        outcome: of the paired test.
        difference: of the soup's score from the single model's, as a fraction; NaN without a test.
        scores: "91.7% against 90.6%".
        evidence: the interval and p, as far as they are known.
        claim: what follows, a sentence.
    """

    split: str
    outcome: Outcome
    difference: float
    scores: str
    evidence: tuple[str, ...]
    claim: str

    @property
    def change(self) -> str:
        """The difference with its sign and unit, "+1.10 points"; "unknown" without a test."""
        if math.isnan(self.difference):
            return "unknown"
        return f"{formatting.points(self.difference)} points"

    @property
    def sentence(self) -> str:
        """All of it in one or two sentences."""
        change = ""
        if self.evidence:
            shown = round(100 * self.difference, 2)  # what reads "0.00" is no gain and no loss
            what = "gain" if shown > 0 else "loss" if shown < 0 else "difference"
            change = f", a {what} of {abs(shown):.2f} points ({'; '.join(self.evidence)})"
        return f"{self.split}: {self.scores}{change}. {self.claim}"


@dataclass(frozen=True)
class Verdict:
    """The answer of the report to whether the soup helped.

    Attributes:
        headline: one sentence.
        comparisons: with the best single model, on test and on the mean of the shifts.
        notes: more sentences: the gain over the median ingredient, and the result by shift.
    """

    headline: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def details(self) -> tuple[str, ...]:
        """The numbers, a sentence for each split, and the notes."""
        return (*(comparison.sentence for comparison in self.comparisons), *self.notes)


def outcome(
    difference: float, low: float, high: float, p_value: float, differing: float
) -> Outcome:
    """Classify a paired comparison of the soup with the best single model.

    The soup is "better" or "worse" only if the interval excludes zero and p < 0.05. If only one
    of the two is known, it decides alone; if neither is, the outcome is "unknown".

    Args:
        difference: accuracy of the soup less that of the single model, as a fraction.
        low, high: bounds of the interval of the difference; NaN if unknown.
        p_value: of a paired test; NaN if unknown.
        differing: number of examples that exactly one of the two models classifies correctly.
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
    """Return the outcome on each split, from `tests` as in `soup.report.page.Report`."""
    numbers = tests[["difference", "low", "high", "p_value"]].astype(float)
    numbers["differing"] = tests["soup_only"].astype(float) + tests["single_only"].astype(float)
    rows = zip(tests["split"], numbers.itertuples(index=False, name=None), strict=True)
    return {str(split): outcome(*row) for split, row in rows}


def verdict(
    results: pd.DataFrame,
    tests: pd.DataFrame,
    recipe: str,
    measure: str = "accuracy",
    unit: str = "images",
    confidence: formatting.Number = 0.95,
) -> Verdict:
    """Compare the soup with the best single model, on test and on the mean of the shifts.

    Args:
        results, tests, recipe, unit, confidence: as in `soup.report.page.Report`.
        measure: what the accuracies are, if they are of another score.
    """
    tested = outcomes(tests)
    shifts = set(results["split"]) - formatting.SPLITS.keys()
    splits = ["test", "shifts"] if shifts else ["test"]
    by_split = {split: tested.get(split, "unknown") for split in splits}
    where = {"test": "on test", "shifts": f"on the mean of {len(shifts)} shifts"}
    if len(shifts) == 1:
        where["shifts"] = f"on {min(shifts)}, the only shift"
    first, last = by_split["test"], by_split[splits[-1]]
    text = f"The {recipe} soup {PHRASES[first].format('the best single model')} {where['test']}"
    if len(splits) == 2 and first == last:
        text += f" and {where['shifts']}"
    elif len(splits) == 2:
        text += f", but {PHRASES[last].format('it')} {where['shifts']}"
    shown = (results, tests, recipe)
    words = Words(measure, unit, formatting.interval_name(confidence))
    comparisons = [_compared(*shown, split, by_split[split], words) for split in splits]
    notes = []
    by_shift = {split: tested[split] for split in tested if split in shifts}
    if median := _median(results, recipe, splits, measure):
        notes.append(median)
    if len(by_shift) > 1:
        notes.append(_shift_by_shift(by_shift))
    return Verdict(text + ".", tuple(comparisons), tuple(notes))


def _median(results: pd.DataFrame, recipe: str, splits: list[str], measure: str) -> str:
    """Return the gain over the median ingredient in a sentence; '' with fewer than two."""
    if results.loc[results["kind"] == "ingredient", "model"].nunique() < 2:
        return ""
    parts = []
    for split in splits:
        rows = results[results["split"] == split]
        median = float(rows.loc[rows["kind"] == "ingredient", "accuracy"].median())
        gain = float(rows.loc[rows["kind"] == recipe, "accuracy"].max()) - median
        if not math.isnan(gain):
            name = formatting.split(split)
            parts.append(f"{formatting.points(gain)} on {name} ({_shown(median, measure)})")
    if not parts:
        return ""
    return (
        f"Against the median ingredient: {', '.join(parts)}. The best single model is the best on "
        "held-out, and may do better or worse than that elsewhere."
    )


def _shift_by_shift(by_shift: dict[str, Outcome]) -> str:
    """Return a sentence that names each shift, because a mean can hide a loss."""
    groups = {
        outcome: [shift for shift, other in by_shift.items() if other == outcome]
        for outcome in PHRASES
    }
    parts = [f"{outcome} on {', '.join(names)}" for outcome, names in groups.items() if names]
    return f"Shift by shift: {'; '.join(parts)}."


def _compared(
    results: pd.DataFrame,
    tests: pd.DataFrame,
    recipe: str,
    split: str,
    outcome: Outcome,
    words: Words,
) -> Comparison:
    measure, unit, interval = words
    rows = results[results["split"] == split].drop_duplicates("kind").set_index("kind")
    soup, single = (float(rows["accuracy"].get(kind, math.nan)) for kind in (recipe, "best single"))
    name = formatting.split(split).capitalize()
    of = "" if measure == "accuracy" else f"{measure} (times 100) "
    scores = f"{of}{_shown(soup, measure)} against {_shown(single, measure)}"
    test = tests[tests["split"] == split]
    if outcome == "unknown" or test.empty:
        claim = "There is no paired test, so nothing is claimed."
        return Comparison(name, "unknown", math.nan, scores, (), claim)
    difference, low, high, p = (
        float(test[column].iloc[0]) for column in ("difference", "low", "high", "p_value")
    )
    if outcome == "the same":
        claim = f"Neither does better on any {unit[:-1]}, though their answers may differ."
        return Comparison(name, outcome, difference, scores, (), claim)
    evidence = []
    if not math.isnan(low + high):
        evidence.append(f"{interval} {formatting.points(low)} to {formatting.points(high)}")
    if not math.isnan(p):
        sign = "" if p < 0.001 else "= "
        evidence.append(f"p {sign}{formatting.probability(p)}".replace(" ", "\u00a0"))
    claim = "This is more than noise."
    if outcome == "within noise":
        images = float(rows["n"].get(recipe, math.nan))
        many = "these" if math.isnan(images) else formatting.count(images)
        claim = f"This is within noise: {many} {unit} cannot tell them apart."
    return Comparison(name, outcome, difference, scores, tuple(evidence), claim)


def _shown(score: float, measure: str) -> str:
    return formatting.percent(score) + ("%" if measure == "accuracy" else "")
