"""Studies of results alone: of the published files, of a sweep's table, and of made-up pools."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from soup.report.figures import svg
from soup.studies.pool_of_results import SOUPS, SPLITS, ResultPool, UnusableResults, read
from soup.studies.published import (
    PAPER,
    STUDIES,
    best_against_soup,
    hyperparameters,
    is_published,
    number_of_models,
)
from soup.studies.setting_effects import means_by_range, rank_correlations


@pytest.fixture(scope="module")
def pool(published_file: Path) -> ResultPool:
    return read(published_file)


@pytest.fixture(scope="module")
def raw(published_file: Path) -> dict[str, dict[str, Any]]:
    lines = published_file.read_text().splitlines()
    settings = json.loads(published_file.with_name("hparam_info.json").read_text())
    return {
        facts["model_name"]: facts | settings[facts["model_name"]]
        for facts in map(json.loads, lines)
    }


def mean_of_shifts(facts: dict[str, Any]) -> float:
    names = ("ImageNetV2", "ImageNetSketch", "ImageNetR", "ObjectNet", "ImageNetA")
    return sum(facts[name] for name in names) / 5


def test_the_published_pool_is_known_by_its_models(pool: ResultPool) -> None:
    assert is_published(pool)
    assert pool.best_single == "model_43"
    assert pool.scores.loc["model_43", "test"] == pytest.approx(0.80386)
    assert pool.scores.loc["model_0", "shifts"] == pytest.approx(0.4715, abs=5e-5)


def test_the_papers_best_single_model_is_that_of_the_files_to_a_fifth_of_a_point(
    pool: ResultPool,
) -> None:
    table = best_against_soup(pool).table
    single = table[table["method"] == "best single"]
    assert (single["here"] - single["paper"]).abs().max() < 0.002


def test_no_published_model_reaches_the_papers_greedy_soup(
    pool: ResultPool, raw: dict[str, dict[str, Any]]
) -> None:
    test, shifts = PAPER["greedy"]
    assert not [facts for facts in raw.values() if facts["ImageNet"] > test]
    assert not [facts for facts in raw.values() if mean_of_shifts(facts) > shifts]
    told = best_against_soup(pool).sentence
    assert told.count("no single model reaches it") == 2
    assert "+0.64" in told
    assert "+2.78" in told


def test_results_of_soups_beside_the_file_go_before_the_papers(
    published_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / published_file.name
    shutil.copy(published_file, file)
    accuracies = (0.8397692, 0.81026, 0.6955, 0.4777457, 0.6420333, 0.4489609, 0.2789333)
    greedy = {"model_name": "greedy_soup"} | dict(zip(SPLITS, accuracies, strict=True))
    (tmp_path / SOUPS["greedy"]).write_text(json.dumps(greedy))
    found = best_against_soup(read(file))
    assert "+2.90" in found.sentence
    here = found.table.set_index(["method", "split"])["here"]
    assert here["greedy", "test"] == 0.81026
    assert here["greedy", "shifts"] == pytest.approx(0.50863, abs=1e-5)
    assert math.isnan(here["uniform", "test"])  # the paper's stand beside it


def test_models_above_each_soup_are_counted(
    pool: ResultPool, raw: dict[str, dict[str, Any]]
) -> None:
    table = best_against_soup(pool).table.set_index(["method", "split"])
    for method, (test, shifts) in PAPER.items():
        if method == "best single":
            continue
        above = sum(facts["ImageNet"] > test for facts in raw.values())
        assert table.loc[(method, "test"), "single models above"] == above
        above = sum(mean_of_shifts(facts) > shifts for facts in raw.values())
        assert table.loc[(method, "shifts"), "single models above"] == above


def test_large_learning_rates_cost_accuracy_under_shift(
    pool: ResultPool, raw: dict[str, dict[str, Any]]
) -> None:
    rates = pool.settings["lr"].astype(float)
    ranges = means_by_range(pool.scores, rates, [3e-6, 3e-5, 5e-5], ["test", "shifts"])
    large = [facts for facts in raw.values() if facts.get("lr", 0) > 5e-5]
    last = ranges.iloc[-1]
    assert last["models"] == len(large) == 6
    assert last["test"] == pytest.approx(sum(f["ImageNet"] for f in large) / 6)
    assert last["shifts"] == pytest.approx(sum(map(mean_of_shifts, large)) / 6)
    middle = ranges.iloc[1]
    assert (round(middle["test"], 3), round(middle["shifts"], 3)) == (0.784, 0.476)
    assert (
        "6 models of learning rates above 5e-05 have 76.6 / 39.4" in hyperparameters(pool).sentence
    )


def test_held_out_tells_test_and_hardly_shifts(pool: ResultPool) -> None:
    assert "0.98 with test accuracy and 0.20 with" in hyperparameters(pool).sentence


def test_more_models_help_on_test_far_more_than_under_shift(pool: ResultPool) -> None:
    table = number_of_models(pool).table.set_index("models")
    assert table.loc[72, "test"] - table.loc[1, "test"] == pytest.approx(0.0246, abs=1e-4)
    assert table.loc[32, "mean of shifts"] - table.loc[1, "mean of shifts"] < 0.005


def made_up(rows: dict[str, tuple[str, float, float, float]]) -> ResultPool:
    frame = [
        {"model": model, "kind": kind, "split": split, "accuracy": accuracy}
        for model, (kind, *accuracies) in rows.items()
        for split, accuracy in zip(("heldout", "test", "shifts"), accuracies, strict=True)
    ]
    return ResultPool(pd.DataFrame(frame), pd.DataFrame())


SWEEP = {
    "a": ("ingredient", 0.70, 0.71, 0.50),
    "b": ("ingredient", 0.72, 0.69, 0.56),
    "c": ("ingredient", 0.60, 0.61, 0.40),
    "best single": ("best single", 0.72, 0.69, 0.56),
    "greedy soup": ("greedy", 0.73, 0.70, 0.55),
}


def test_a_soup_that_is_worse_is_said_to_be_worse() -> None:
    answer = best_against_soup(made_up(SWEEP))
    assert answer.sentence.startswith(
        "On test the greedy soup is +1.00 points from the best single model (69.00%); 1 single "
        "model is above it. Under shift"
    )
    assert "\u22121.00 points" in answer.sentence
    assert "paper" not in answer.table


def test_a_sweeps_table_gives_the_same_studies(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    made_up(SWEEP).results.to_csv(file, index=False)
    pool = read(file)
    for study in STUDIES.values():
        answer = study(pool)
        assert svg(answer.figure).startswith("<svg")
        assert answer.sentence
    pd.testing.assert_frame_equal(pool.scores, made_up(SWEEP).scores)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame[frame["model"] != "a"], "2 single models, and a study needs three"),
        (lambda frame: frame[frame["split"] != "heldout"], "no accuracy on heldout"),
        (lambda frame: frame.drop(columns="kind"), "has no kind"),
        (lambda frame: frame.assign(accuracy=frame["accuracy"].where(frame["model"] != "a")),
         "lacks accuracies of a|2 single models"),
    ],
)  # fmt: skip
def test_results_that_lack_something_are_refused(tmp_path: Path, change: Any, told: str) -> None:
    file = tmp_path / "results.csv"
    change(made_up(SWEEP).results).to_csv(file, index=False)
    with pytest.raises(UnusableResults, match=told):
        read(file)


def test_a_missing_file_and_a_line_without_a_split_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableResults, match=r"none\.csv cannot be read"):
        read(tmp_path / "none.csv")
    file = tmp_path / "models.jsonl"
    file.write_text('{"model_name": "model_0", "ImageNet": 0.5}\n')
    with pytest.raises(UnusableResults, match="line 1 has no usable ImageNet2p"):
        read(file)
    file.write_text("[1, 2]\n")
    with pytest.raises(UnusableResults, match=r"line 1 is no model.s results"):
        read(file)


def test_hyperparameters_are_optional(published_file: Path, tmp_path: Path) -> None:
    file = tmp_path / published_file.name
    shutil.copy(published_file, file)
    answer = hyperparameters(read(file))
    assert answer.table.empty
    assert answer.sentence.startswith("Held-out accuracy correlates")


def test_rank_correlations_are_those_of_ranks() -> None:
    rng = np.random.default_rng(0)
    names = [*"abcdefgh"]
    scores = pd.DataFrame({"test": rng.random(8)}, index=names)
    settings = pd.DataFrame({"lr": rng.random(8), "augment": "none", "epochs": 4}, index=names)
    table = rank_correlations(scores, settings, ["test"])
    ranks = [sorted(column).index(value) for column in (list(scores["test"]),) for value in column]
    others = [sorted(settings["lr"]).index(value) for value in settings["lr"]]
    assert [*table["setting"]] == ["lr"]
    assert table["test"][0] == pytest.approx(float(np.corrcoef(ranks, others)[0, 1]))


def test_a_value_on_an_edge_belongs_below_it() -> None:
    scores = pd.DataFrame({"test": [0.1, 0.2, 0.4]}, index=[*"abc"])
    ranges = means_by_range(scores, pd.Series([1.0, 2.0, 3.0], [*"abc"]), [2.0], ["test"])
    assert [*ranges["models"]] == [2, 1]
    assert [*ranges["test"]] == pytest.approx([0.15, 0.4])


def test_the_command_studies_a_file_of_results(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from soup.cli.app import app

    file = tmp_path / "results.csv"
    made_up(SWEEP).results.to_csv(file, index=False)
    options = ["--results", str(file), "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, ["study", "best-against-soup", *options])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["sentence"] == best_against_soup(read(file)).sentence
    assert all(Path(written).stat().st_size for written in told["files"])
    refused = CliRunner().invoke(app, ["study", "landscape", *options])
    assert refused.exit_code != 0
    assert "no study 'landscape' of results alone" in str(refused.exception)
