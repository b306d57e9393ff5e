"""EMA, SWA and SAM, with and without soups.

Wortsman et al., "Model soups", ICML 2022, report that soups add to exponential moving averages
(EMA), stochastic weight averaging (SWA, Izmailov et al., UAI 2018) and sharpness-aware minimisation
(SAM, Foret et al., ICLR 2021). A sweep makes the averages of each run as ingredients of their own
(`sweep.ema`, `sweep.swa`), and SAM is a setting of a run (`sweep.space.sam`).
"""

import re

import pandas as pd

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.report.gain_rows import gain_rows
from soup.studies.bench import Bench
from soup.studies.group_gains import (
    Group,
    group_gains,
    mean_gains,
    told,
    where,
    without_heldout,
)
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import SubsetMethods
from soup.studies.wording import difference, points

AVERAGED = re.compile(r"(.+)-(ema-[\d.e-]+|swa)")  # a run's name, and its average's
PLAIN = "plain"
REMEDY = (
    "add sweep.ema: [0.99], sweep.swa: {start: 0.75} or sweep.space.sam: [0, 0.05], then "
    "python -m flows pipeline --params FILE"
)


def run(bench: Bench, _options: StudyOptions) -> Findings:
    """Score single models, soups and ensembles of the final weights and of each kind of average.

    The table is that of `group_gains`, with a group for each kind: 'plain', 'ema-0.99', 'swa',
    'sam', 'sam ema-0.99', ... A column 'over plain' has the accuracy less that of the same method
    on plain weights.

    Raises:
        BadInput: the sweep has one kind alone, or a kind of fewer than two models.
    """
    groups = groups_of(bench)
    if len(groups) < 2:
        kinds = ", ".join(group.kind for group in groups) or "none"
        raise BadInput(
            "study averages needs two kinds of models (plain, EMA, SWA, SAM) of two or more each, "
            f"and this sweep has {kinds}: {REMEDY}"
        )
    table = group_gains(bench, groups)
    first = table[table["kind"] == groups[0].kind].set_index(["split", "method"])["accuracy"]
    keys = pd.MultiIndex.from_frame(table[["split", "method"]])
    table[f"over {groups[0].kind}"] = table["accuracy"] - first.reindex(keys).to_numpy()
    means, splits = mean_gains(table), without_heldout(bench.splits)
    figure = gain_rows(means, splits, "Gain of soups of plain weights, EMA, SWA and SAM")
    return Findings(table, figure, _sentence(bench, groups, table, means, splits))


def groups_of(bench: Bench) -> list[Group]:
    """The fine-tunes by kind, plain ones first; kinds of a single model are left out."""
    by_kind: dict[str, list[str]] = {}
    for name in sorted(bench.ranked):
        averaged = AVERAGED.fullmatch(name)
        sam = float(bench.models[name].settings.get("sam") or 0) > 0
        words = ["sam"] if sam else []
        words += [averaged[2]] if averaged else []
        by_kind.setdefault(" ".join(words) or PLAIN, []).append(name)
    kinds = sorted(by_kind, key=lambda kind: (kind != PLAIN, kind))
    return [Group(k, k, tuple(by_kind[k])) for k in kinds if len(by_kind[k]) > 1]


def _sentence(
    bench: Bench,
    groups: list[Group],
    table: pd.DataFrame,
    means: pd.DataFrame,
    splits: list[str],
) -> str:
    methods, plain = SubsetMethods(bench), groups[0]
    column = f"over {plain.kind}"
    parts: list[str] = []
    better: list[str] = []
    rest: list[str] = []
    for kind, _, names in groups:
        gains = told(means, kind, "uniform", splits), told(means, kind, "greedy", splits)
        text = f"{kind} ({len(names)} models): uniform {gains[0]}; greedy {gains[1]}"
        of_kind = table[(table["kind"] == kind)].set_index(["split", "method"])
        if kind != plain.kind:
            over = [
                f"{points(float(of_kind.loc[(split, 'best single'), column]))} {where(split)}"
                for split in splits
            ]
            text += f"; its best single model is {', '.join(over)} from that of {plain.kind}"
        if kind != PLAIN:
            single = methods.rights("best single", names, "test")
            soup = difference(bench, methods.rights("greedy", names, "test"), single)
            (better if soup.low > 0 else rest).append(kind)
        parts.append(text)
    verdict = []
    if better:
        verdict.append(f"soups add to {', '.join(better)} on test beyond noise, as in the paper")
    if rest:
        verdict.append(
            f"that soups add to {', '.join(rest)} does not show on test beyond noise here"
        )
    final = "; ".join(verdict)
    return (
        f"Gains over the best single model of each kind, in points. {'. '.join(parts)}. "
        f"{final[0].upper()}{final[1:]}."
    )


STUDY = Study(run)
