"""Calibration: reliability and equal-mass error of single model, soups and ensemble.

Wortsman et al., "Model soups", ICML 2022: with runs that differ in their seed alone, ensembles
improve the calibration of the single models, and soups do not. Temperature scaling on held-out is
the usual remedy, which needs no second model; so each is shown before and after it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from soup.config.studies import StudyOptions
from soup.evaluation.metrics import Logits
from soup.report import formatting
from soup.report.reliability_curves import reliability_curves
from soup.studies.bench import SHIFTS, Bench
from soup.studies.point import mean, only
from soup.studies.reliability import (
    Confidence,
    confidence,
    difference_interval,
    reliability,
    temperature,
)
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import SubsetMethods

METHODS = ("best single", "uniform", "greedy", "ensemble")
BINS = 15
RESAMPLES = 200


def run(bench: Bench, options: StudyOptions) -> Findings:
    """Measure calibration on test and under shift, before and after temperature scaling.

    The table has a row for each method, split, scaling ('none', 'temperature') and bin: bin (from
    the least confident), n, confidence and accuracy of the bin; temperature and ece of the
    method, and low and high: bounds of its ece less that of the best single model. The bins of
    "shifts" are those of all shifts together, and its ece is the mean of theirs.
    """
    methods = SubsetMethods(bench)
    splits = [split for split in bench.splits if split != "heldout"]
    rows: list[dict[str, object]] = []
    singles: dict[tuple[str, str], list[Confidence]] = {}
    with bench.counted("calibration", len(METHODS)) as advance:
        for method in METHODS:
            members = methods.members(method, bench.ranked)
            logits = _logits(bench, method, members, "heldout")
            fitted = temperature(logits, bench.targets["heldout"].labels)
            for split in splits:
                parts = bench.shifts if split == SHIFTS else (split,)
                raw = {part: _logits(bench, method, members, part) for part in parts}
                for scaling, at in (("none", 1.0), ("temperature", fitted)):
                    scored = [confidence(raw[p], bench.targets[p].labels, at) for p in parts]
                    first = singles.setdefault((split, scaling), scored)
                    facts: dict[str, object] = {"method": method, "split": split}
                    facts |= {"scaling": scaling}
                    facts |= {"temperature": at, "members": len(members)}
                    rows += _rows(facts, scored, first, options.seed)
            advance()
    table = pd.DataFrame(rows)
    return Findings(table, reliability_curves(table, "test"), sentence(table))


def _logits(bench: Bench, method: str, members: Sequence[str], split: str) -> Logits:
    if method != "ensemble":
        return bench.logits(mean(members), split)
    total = sum(bench.logits(only(name), split).astype(np.float64) for name in members)
    return np.asarray(total) / len(members)


def _rows(
    facts: dict[str, object], scored: list[Confidence], first: list[Confidence], seed: int
) -> list[dict[str, object]]:
    errors = [of_part.error(BINS) for of_part in scored]
    bounds = (0.0, 0.0)
    if scored is not first:
        bounds = difference_interval(first, scored, BINS, RESAMPLES, 0.95, seed)
    facts = facts | {"ece": float(np.mean(errors)), "low": bounds[0], "high": bounds[1]}
    together = Confidence(*(np.concatenate(arrays) for arrays in zip(*scored, strict=True)))
    return [
        facts | {"bin": number, "n": n, "confidence": mean_of_bin, "accuracy": accuracy}
        for number, (n, mean_of_bin, accuracy) in enumerate(reliability(together, BINS))
    ]


def sentence(table: pd.DataFrame) -> str:
    """Each method's error beside that of the best single model, and what of the paper shows."""
    every = table.drop_duplicates(["method", "split", "scaling"])
    told, shows = [], {}
    for (split, scaling), group in every.groupby(["split", "scaling"], sort=False):
        by_method = group.set_index("method")
        errors = [
            f"{formatting.percent(float(row['ece']))} {_name(method)}"
            + ("" if method == "best single" else f" ({_outcome(row)})")
            for method, row in by_method.iterrows()
        ]
        where = "under shift" if split == "shifts" else f"on {formatting.split(str(split))}"
        when = "after temperature scaling" if scaling == "temperature" else "as they are"
        told.append(f"The calibration error {where}, {when}: {', '.join(errors)} (%).")
        shows[split, scaling] = {m: _outcome(by_method.loc[m]) for m in METHODS[1:]}
    first = shows["test", "none"]
    ensemble, soups = first["ensemble"] == "better", [first["uniform"], first["greedy"]]
    if ensemble and "better" not in soups:
        verdict = "The paper's finding shows on test: the ensemble improves it, and soups do not."
    else:
        parts = [
            f"the ensemble {'improves' if ensemble else 'does not improve'} it beyond noise",
            f"a soup {'does' if 'better' in soups else 'does not'}",
        ]
        verdict = f"The paper's finding does not show on test: {', and '.join(parts)}."
    return " ".join([*told, verdict])


def _name(method: object) -> str:
    return f"{method} soup" if method in ("uniform", "greedy") else str(method)


def _outcome(row: pd.Series) -> str:
    """Whether the interval of the difference excludes zero, and on which side."""
    if row["high"] < 0:
        return "better"
    return "worse" if row["low"] > 0 else "within noise"


STUDY = Study(run)
