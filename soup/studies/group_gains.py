"""What the methods gain on groups of fine-tunes, over the best single model of each group."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from soup.report import formatting
from soup.studies.bench import Bench
from soup.studies.subset_methods import SubsetMethods
from soup.studies.wording import difference

METHODS = ("best single", "uniform", "greedy", "ensemble")


class Group(NamedTuple):
    """Fine-tunes that belong together.

    Attributes:
        kind: what they have in common, or differ in; groups of a kind are shown together.
        label: which group of its kind.
        names: of the fine-tunes.
    """

    kind: str
    label: str
    names: tuple[str, ...]


def group_gains(bench: Bench, groups: Sequence[Group]) -> pd.DataFrame:
    """Score the methods on each group.

    Returns:
        Columns kind, group, models, split, method ('mean of singles' too), members, accuracy, and
        gain, low, high, p: the difference from the best single model of the group, its bootstrap
        interval and paired test.
    """
    methods, rows = SubsetMethods(bench), []
    with bench.counted("groups", len(groups)) as advance:
        for kind, label, names in groups:
            for split in bench.splits:
                facts: dict[str, Any] = {"kind": kind, "group": label, "models": len(names)}
                facts["split"] = split
                single = methods.rights("best single", names, split)
                best = float(np.mean([right.mean() for right in single]))
                mean = float(np.mean([methods.of_average((n,), [split])[0] for n in names]))
                facts_of_mean = {"method": "mean of singles", "members": 1, "accuracy": mean}
                rows.append(facts | facts_of_mean | {"gain": mean - best})
                for method in METHODS:
                    members = len(methods.members(method, names))
                    compared = difference(bench, methods.rights(method, names, split), single)
                    rows.append(
                        facts
                        | {"method": method, "members": members, "accuracy": compared.first}
                        | {"gain": compared.value, "low": compared.low, "high": compared.high}
                        | {"p": compared.p}
                    )
            advance()
    return pd.DataFrame(rows)


def mean_gains(table: pd.DataFrame) -> pd.DataFrame:
    """The mean gain of each method over the groups of a kind.

    Returns:
        Columns kind, split, method, groups, gain, low, high; the bounds are those of a kind's only
        group, else the smallest and the largest gain of its groups.
    """
    rows = []
    for (kind, split, method), group in table.groupby(["kind", "split", "method"], sort=False):
        alone = len(group) == 1
        low = group["low"].iloc[0] if alone else group["gain"].min()
        high = group["high"].iloc[0] if alone else group["gain"].max()
        row = (kind, split, method, len(group), float(group["gain"].mean()), low, high)
        rows.append(row)
    columns = ["kind", "split", "method", "groups", "gain", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def told(means: pd.DataFrame, kind: str, method: str, splits: Sequence[str]) -> str:
    """The mean gains of a method in words: '+0.5 on test, -0.1 under shift'."""
    of_kind = means[(means["kind"] == kind) & (means["method"] == method)].set_index("split")
    return ", ".join(
        f"{formatting.points(float(of_kind.loc[split, 'gain']))} {where(split)}" for split in splits
    )


def where(split: str) -> str:
    """'on test', 'on held-out' or 'under shift'."""
    return "under shift" if split == "shifts" else f"on {formatting.split(split)}"


def without_heldout(splits: Sequence[str]) -> list[str]:
    """The splits on which no choice was made."""
    return [split for split in splits if split != "heldout"]
