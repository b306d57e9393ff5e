"""The studies of groups: hyperparameters, and EMA, SWA and SAM; beside literal computations."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.report.figures import svg
from soup.studies import averages, hyperparameters
from soup.studies.hyperparameters import groups_of
from tests.studies.mlp_pool import Pool, pool

GRID: dict[str, dict[str, Any]] = {
    f"run-{number}": {"lr": lr, "augment": augment, "seed": number, "epochs": 4}
    for number, (lr, augment) in enumerate(
        [(1e-3, "none"), (1e-2, "none"), (1e-3, "strong"), (1e-2, "strong"), (1e-1, "strong")]
    )
}


def brute_groups(settings: dict[str, dict[str, Any]], setting: str) -> set[frozenset[str]]:
    """Runs between any two of which `setting` differs, and nothing else but the seed."""

    def fits(a: str, b: str) -> bool:
        differing = {k for k in settings[a] if settings[a][k] != settings[b][k]} - {"seed"}
        return differing == {setting}

    linked = {a: frozenset([a, *(b for b in settings if fits(a, b))]) for a in settings}
    return {group for group in linked.values() if len(group) > 1}


def test_groups_differ_in_one_setting_and_the_seed_where_each_run_has_its_own() -> None:
    found = groups_of(GRID)
    for setting in ("lr", "augment"):
        names = {frozenset(group.names) for group in found if group.kind == setting}
        assert names == brute_groups(GRID, setting)
    assert {group.kind for group in found} == {"lr", "augment"}
    label = next(group.label for group in found if group.kind == "augment")
    assert label == "lr 0.001"


def test_runs_that_share_seeds_differ_in_nothing_else() -> None:
    settings = {
        f"run-{lr}-{seed}": {"lr": lr, "seed": seed} for lr in (0.1, 0.2) for seed in (0, 1, 2)
    }
    found = groups_of(settings)
    assert sorted(len(group.names) for group in found if group.kind == "lr") == [2, 2, 2]
    assert sorted(len(group.names) for group in found if group.kind == "seed") == [3, 3]


@pytest.fixture(scope="module")
def made() -> Pool:
    return pool(5, settings=GRID, names=[*GRID], seed=3)


def literal(made: Pool, names: list[str], method: str, split: str) -> float:
    """The accuracy of a method on one split."""
    ranked = [name for name in made.ranked if name in names]
    if method == "ensemble":
        total = sum(made.logits(made.models[name], split) for name in ranked)
        return float((total.argmax(1) == made.sets[split].labels).mean())
    if method == "mean of singles":
        return float(np.mean([literal(made, [name], "uniform", split) for name in ranked]))
    members = ranked[:1] if method == "best single" else ranked
    if method == "greedy":
        members = []
        for name in ranked:
            if not members or made.errors(made.average([*members, name]), "heldout") <= made.errors(
                made.average(members), "heldout"
            ):
                members.append(name)
    return 1 - made.errors(made.average(members), split) / len(made.sets[split])


def check(made: Pool, table: pd.DataFrame, names: dict[tuple[str, str], list[str]]) -> None:
    """Every accuracy and gain of a table is that of a literal computation."""
    for row in table.to_dict("records"):
        of_group = names[row["kind"], row["group"]]
        parts = ["far one", "far two"] if row["split"] == "shifts" else [row["split"]]

        accuracy, single = (
            float(np.mean([literal(made, of_group, method, part) for part in parts]))
            for method in (row["method"], "best single")
        )
        assert row["accuracy"] == pytest.approx(accuracy), row
        assert row["gain"] == pytest.approx(accuracy - single)
        if row["method"] not in ("best single", "mean of singles"):
            assert row["low"] <= row["gain"] <= row["high"]


def test_the_gains_of_groups_are_those_of_a_literal_computation(made: Pool, tmp_path: Path) -> None:
    found = hyperparameters.STUDY.run(made.bench(tmp_path), StudyOptions())
    groups = {(g.kind, g.label): [*g.names] for g in groups_of(GRID)}
    check(made, found.table, groups | {("everything", "all runs"): [*GRID]})
    assert svg(found.figure).startswith("<svg")
    assert "2 groups of 2 to 3 runs that differ in lr alone" in found.sentence
    assert "of 4 groups" in found.sentence
    made.passes.clear()
    again = hyperparameters.STUDY.run(made.bench(tmp_path), StudyOptions())
    assert again.sentence == found.sentence
    assert made.passes == []


def test_one_group_is_told_in_the_singular(tmp_path: Path) -> None:
    made = pool(2, settings={f"run-{n}": {"lr": 0.1 * n} for n in range(2)})
    made.models["run-1"] = made.models["run-0"]
    told = hyperparameters.STUDY.run(made.bench(tmp_path), StudyOptions()).sentence
    assert "1 group of 2 runs that differ in lr alone: uniform 0.00 on test" in told
    assert told.endswith("is better beyond noise in 0 and worse in 0 of 1 group.")


def test_a_random_search_is_told_how_runs_come_to_differ_in_one_thing(tmp_path: Path) -> None:
    settings = {f"run-{n}": {"lr": 0.1 * n, "mixup": 0.2 * n, "seed": n} for n in range(3)}
    bench = pool(3, settings=settings).bench(tmp_path)
    with pytest.raises(BadInput, match=r"no two of these 3 do: search a grid .* sweep\.method"):
        hyperparameters.STUDY.run(bench, StudyOptions())


AVERAGED = ["ft-000", "ft-001", "ft-000-ema-0.9", "ft-001-ema-0.9", "ft-002", "ft-003"]


def test_averages_are_told_from_plain_weights_and_scored_alike(tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {name: {"sam": 0.0} for name in AVERAGED}
    settings["ft-002"] = settings["ft-003"] = {"sam": 0.05}
    made = pool(6, settings=settings, names=AVERAGED, seed=5)
    found = averages.STUDY.run(made.bench(tmp_path), StudyOptions())
    kinds = {"plain": AVERAGED[:2], "ema-0.9": AVERAGED[2:4], "sam": AVERAGED[4:]}
    assert [*dict.fromkeys(found.table["kind"])] == ["plain", "ema-0.9", "sam"]
    check(made, found.table, {(kind, kind): names for kind, names in kinds.items()})
    for row in found.table.to_dict("records"):
        if row["split"] == "test":
            here = literal(made, kinds[row["kind"]], row["method"], "test")
            plain = literal(made, kinds["plain"], row["method"], "test")
            assert row["over plain"] == pytest.approx(here - plain)
    assert "ema-0.9" in found.sentence
    assert svg(found.figure).startswith("<svg")


def test_of_averages_alone_the_soups_of_each_kind_are_judged(tmp_path: Path) -> None:
    names = ["ft-000-ema-0.9", "ft-001-ema-0.9", "ft-000-swa", "ft-001-swa"]
    made = pool(4, names=names, seed=5)
    weights = made.models[names[0]]
    made.models |= dict.fromkeys(names, weights)  # which soups leave as they are
    told = averages.STUDY.run(made.bench(tmp_path), StudyOptions()).sentence
    assert "swa (2 models): uniform 0.00 on test, 0.00 under shift; greedy 0.00 on test" in told
    assert told.endswith("That soups add to ema-0.9, swa does not show on test beyond noise here.")


def test_a_sweep_of_plain_weights_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has plain: add sweep\.ema: \[0\.99\]"):
        averages.STUDY.run(pool(3).bench(tmp_path), StudyOptions())
