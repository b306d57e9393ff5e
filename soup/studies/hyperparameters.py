"""Hyperparameters: soups of fine-tunes that differ in one thing only.

Wortsman et al., "Model soups", ICML 2022, average models that differ in many hyperparameters, and
compare pairs that differ in the seed, the learning rate or the augmentation alone. Here all groups
of a sweep whose runs differ in a single setting are found, and a soup is made of each.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.report import formatting
from soup.report.gain_rows import gain_rows
from soup.studies.bench import Bench
from soup.studies.group_gains import Group, group_gains, mean_gains, told, without_heldout
from soup.studies.study import Findings, Study

SEED = "seed"
EVERYTHING = "everything"
# How runs come to differ in one thing: a grid with several values of a setting.
REMEDY = (
    "search a grid in which a setting has several values, such as sweep.method: grid and "
    "sweep.space: {like: paper-grid}, or seeds alone (sweep.space: {like: seeds-only}), then "
    "python -m flows pipeline --params FILE"
)


def run(bench: Bench, _options: StudyOptions) -> Findings:
    """Make a soup of each group of fine-tunes that differ in one setting alone.

    The table is that of `group_gains`; the kind of a group is the setting, and 'everything' is the
    whole sweep.

    Raises:
        BadInput: no two fine-tunes differ in one setting alone.
    """
    groups = groups_of({name: bench.models[name].settings for name in bench.ranked})
    if not groups:
        raise BadInput(
            "study hyperparameters needs fine-tunes that differ in one setting alone, and no two "
            f"of these {len(bench.ranked)} do: {REMEDY}"
        )
    table = group_gains(bench, [*groups, Group(EVERYTHING, "all runs", bench.ranked)])
    means, splits = mean_gains(table), without_heldout(bench.splits)
    figure = gain_rows(means, splits, "Gain of soups of runs that differ in one setting")
    return Findings(table, figure, sentence(table, means, splits))


def groups_of(settings: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """All largest groups of runs that differ in one setting alone, by setting.

    If runs that share their seed form no group of another setting, runs of different seeds may:
    then the seed differs as well, as where each run has a seed of its own. Of runs that are equal
    in all settings but the seed, such a group has the first.

    Args:
        settings: of each run, by name, the best on held-out first.
    """
    names = sorted({key for of_run in settings.values() for key in of_run})
    varied = [n for n in names if len({repr(of.get(n)) for of in settings.values()}) > 1]
    groups = []
    for setting in varied:
        found = _apart(settings, setting, [n for n in varied if n != setting])
        if not found and setting != SEED and SEED in varied:
            found = _apart(settings, setting, [n for n in varied if n not in (setting, SEED)])
        groups += found
    return groups


def _apart(settings: Mapping[str, Mapping[str, Any]], setting: str, same: list[str]) -> list[Group]:
    """The groups of runs that share the settings `same`, one run for each value of `setting`."""
    by_rest: dict[str, dict[str, str]] = {}
    for name, of_run in settings.items():
        if of_run:
            rest = ", ".join(f"{key} {formatting.setting(of_run.get(key))}" for key in same)
            by_rest.setdefault(rest, {}).setdefault(repr(of_run.get(setting)), name)
    return [
        Group(setting, rest or "all others alike", tuple(of_value.values()))
        for rest, of_value in by_rest.items()
        if len(of_value) > 1
    ]


def sentence(table: pd.DataFrame, means: pd.DataFrame, splits: list[str]) -> str:
    """The mean gains by setting, and for how many groups the soup is better beyond noise."""
    parts = []
    for kind in dict.fromkeys(table["kind"]):
        if kind == EVERYTHING:
            continue
        of_kind = table[table["kind"] == kind]
        groups = of_kind.drop_duplicates("group")
        sizes = sorted(set(groups["models"]))
        size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        parts.append(
            f"{_count(len(groups), size)} that differ in {str(kind).replace('_', ' ')} alone: "
            f"uniform {told(means, str(kind), 'uniform', splits)}; greedy "
            f"{told(means, str(kind), 'greedy', splits)}"
        )
    everything = told(means, EVERYTHING, "greedy", splits)
    only = table[table["kind"] != EVERYTHING]
    test = only[(only["split"] == "test") & (only["method"] == "uniform")]
    better, worse = int((test["low"] > 0).sum()), int((test["high"] < 0).sum())
    return (
        f"Gains over the best single model of each group, in points, means over groups. "
        f"{'. '.join(parts)}. All runs: greedy {everything}. On test the uniform soup of a group "
        f"is better beyond noise in {better} and worse in {worse} of "
        f"{len(test)} group{'' if len(test) == 1 else 's'}."
    )


def _count(groups: int, size: str) -> str:
    return f"1 group of {size} runs" if groups == 1 else f"{groups} groups of {size} runs"


STUDY = Study(run)
