"""soup champion: show, promote, rollback, copy, on a real registry."""

import json
from pathlib import Path

import pytest

from soup.tracking import Store, aliases, history
from tests.cli.conftest import Command
from tests.registries import open_store, registered

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def place(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setenv("MODELSOUP_ACTOR", "ada@lab")


def test_a_champion_s_life_from_the_command_line(soup: Command, store: Store) -> None:
    of = ("--model", "life")
    registered(store, "life", range(9))
    first = soup("champion", "promote", *of)
    assert (first.code, first.err) == (0, "life version 1 is the champion: the first champion")
    registered(store, "life", range(4, 16))
    worse = soup("champion", "promote", *of)
    assert worse.code == 1
    assert worse.err == (
        "error: life version 2 is not promoted: 12 held-out errors against 9 of champion 1, of 100 "
        "(right alone: 4 against 7; p = 0.55, exact McNemar)"
    )
    registered(store, "life", range(3))
    better = soup("champion", "promote", "challenger", *of, "--why", "for the release", "--json")
    assert better.code == 0
    assert json.loads(better.out) == {
        "model": "life",
        "version": "3",
        "promote": True,
        "reason": "3 held-out errors against 9 of champion 1, of 100 (right alone: 6 against 0; "
        "p = 0.031, exact McNemar); for the release",
        "p": 0.03125,
    }
    back = soup("champion", "rollback", *of, "--why", "wrong at night")
    assert back.code == 0
    assert back.err.startswith("life version 1 is the champion again; version 3 is 'previous'")
    kept = soup("champion", "promote", "3", *of)
    assert kept.code == 1
    assert "version 3 was rolled back by ada@lab: wrong at night: promote it by hand" in kept.err
    bare = soup("champion", "promote", "3", *of, "--force")
    assert (bare.code, bare.err) == (2, "error: --force goes past the gate: say why, with --why")
    forced = soup("champion", "promote", "3", *of, "--force", "--why", "it was the lamp")
    assert forced.code == 0
    assert aliases(store, "life") == {"challenger": "3", "champion": "3", "previous": "1"}

    shown = soup("champion", "show", *of)
    assert shown.code == 0
    for told in (
        "3 challenger, champion 3 of 100 90.00 greedy 2 ingredients cccccccccccc",
        "1 previous 9 of 100",
        "ada@lab refused 2, 1 stays 12 held-out errors against 9",
        "ada@lab rolled back 3 to 1 wrong at night",
        "ada@lab promoted 3 over 1 by hand: it was the lamp",
    ):
        assert told in shown.err, shown.err
    facts = json.loads(soup("champion", "show", *of, "--json").out)
    assert facts["aliases"]["champion"] == "3"
    assert [v["version"] for v in facts["versions"]] == ["3", "2", "1"]
    what = [e["what"] for e in facts["history"]]
    assert what == [
        "promoted", "refused", "promoted", "rolled back", "refused", "promoted"
    ]  # fmt: skip
    assert [vars(e) for e in history(store, "life")] == facts["history"]


def test_versions_of_other_images_are_compared_by_the_pipeline(soup: Command, store: Store) -> None:
    registered(store, "splits", range(9))
    soup("champion", "promote", "--model", "splits")
    registered(store, "splits", range(3), split="another")
    said = soup("champion", "promote", "--model", "splits")
    assert said.code == 2
    assert "were not scored on the same held-out examples" in said.err
    assert "python -m flows register" in said.err
    assert aliases(store, "splits")["champion"] == "1"


def test_the_gate_asks_for_evidence_by_an_option(soup: Command, store: Store) -> None:
    of = ("--model", "evidence")
    registered(store, "evidence", range(3))
    soup("champion", "promote", *of)
    registered(store, "evidence", range(2))
    said = soup("champion", "promote", *of, "--largest-p", 0.05)
    assert said.code == 1
    assert "version 2 is not promoted: 2 held-out errors against 3 of champion 1" in said.err
    assert said.err.endswith("p = 1, exact McNemar): p is above the largest allowed, 0.05")
    said = soup("champion", "promote", *of)
    assert said.code == 0
    assert said.err.endswith("p = 1, exact McNemar), within noise")


def test_a_copy_waits_to_be_promoted_where_it_went(
    soup: Command, store: Store, tmp_path: Path
) -> None:
    registered(store, "going")
    soup("champion", "promote", "--model", "going")
    there = f"sqlite:///{tmp_path}/there.db"
    said = soup("champion", "copy", "--model", "going", "--to", there, "--as", "live", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == {"model": "live", "version": "1", "registry": there}
    promoted = soup("champion", "promote", "--model", "live", "--registry", there)
    assert promoted.err == "live version 1 is the champion: the first champion"


def test_bad_input_is_told(soup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = soup("champion", "show")
    assert bare.code == 2
    assert "no params.yaml in this folder: name the registered model with --model" in bare.err
    none = soup("champion", "show", "--model", "nobody")
    assert none.code == 2
    assert "there is no registered model nobody" in none.err
    assert soup("champion", "rollback", "--model", "nobody").code == 2  # without --why
    lost = soup("champion", "rollback", "--model", "nobody", "--why", "x")
    assert (lost.code, "nobody has no champion to roll back" in lost.err) == (2, True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    empty = soup("champion", "show", "--model", "x")
    assert "there is no such database; set MLFLOW_TRACKING_URI" in empty.err
    assert [*tmp_path.iterdir()] == []
