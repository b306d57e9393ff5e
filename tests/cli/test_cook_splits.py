"""`soup cook --splits`: how much of a soup's gain is that it was chosen on the same images."""

import json
from pathlib import Path
from typing import Any

import pytest

from soup.evaluation.diagnosis.selection_bias import split_bias
from tests.cli.conftest import Candidates, Command


def test_splitting_the_held_out_set_says_how_much_is_selection(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    said = soup(
        "cook", "--splits", 1, "--heldout", candidates.heldout, "--json", "-o", tmp_path / "o",
        *candidates.models[:3],
    )  # fmt: skip
    assert said.code == 0, said.err
    assert json.loads(said.out)["bias"].keys() == {"best_single", "gain", "soup"}
    assert "1 splits of the held-out set" in said.err


@pytest.mark.parametrize("given", [("--tie", "reject"), ("--set", "tie=reject")])
def test_the_splits_are_cooked_by_the_rule_of_the_soup(
    soup: Command, candidates: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, str],
) -> None:  # fmt: skip
    rules = []

    def watched(*args: Any, recipe: Any, **rest: Any) -> Any:
        rules.append(recipe.keywords["tie"])
        return split_bias(*args, recipe=recipe, **rest)

    monkeypatch.setattr("soup.cli.soup_quality.split_bias", watched)
    said = soup(
        "cook", "--splits", 1, *given, "--heldout", candidates.heldout, "-o", tmp_path / "o",
        *candidates.models[:2],
    )  # fmt: skip
    assert (said.code, rules) == (0, ["reject"]), said.err
