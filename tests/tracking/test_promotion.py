"""The champion moves one step at a time, whoever moves it, and every step is kept."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from soup.evaluation.promotion_gate import Decision
from soup.tracking import (
    Store,
    TrackingError,
    Version,
    aliases,
    audit,
    champion,
    history,
    promote,
    promotion,
    repair,
    roll_back,
    rolled_back,
    version,
)
from soup.train.fork_server import fork_server
from tests.registries import open_store, registered
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow
YES = Decision(True, "better")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSOUP_ACTOR", "ada@lab")


def three(store: Store, model: str) -> list[Version]:
    return [registered(store, model, range(9 - i)) for i in range(3)]


def test_the_champion_before_is_kept_as_previous_and_every_move_is_noted(store: Store) -> None:
    first, second, third = three(store, "moves")
    assert champion(store, "moves") is None
    promote(store, first, lambda holder: Decision(holder is None, "the first"))
    assert aliases(store, "moves") == {"challenger": "3", "champion": "1"}
    promote(store, second, lambda holder: YES)
    promote(store, third, lambda holder: Decision(False, f"not better than {holder.number}"))
    assert aliases(store, "moves") == {"challenger": "3", "champion": "2", "previous": "1"}
    done = [(e.what, e.number, e.champion, e.why, e.who) for e in history(store, "moves")]
    assert done == [
        ("promoted", "1", "", "the first", "ada@lab"),
        ("promoted", "2", "1", "better", "ada@lab"),
        ("refused", "3", "2", "not better than 2", "ada@lab"),
    ]
    assert len(history(store, "moves", "1")) == 2  # its promotion, and the one that ended it
    times = [e.when for e in history(store, "moves")]
    assert times == sorted(times)
    assert all(t.endswith("+00:00") for t in times)


def test_who_acts_is_the_user_unless_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELSOUP_ACTOR")
    monkeypatch.setenv("LOGNAME", "grace")
    assert audit.actor() == f"grace@{os.uname().nodename}"


def test_a_champion_is_not_refused_by_itself(store: Store) -> None:
    one = registered(store, "itself")
    promote(store, one, lambda _: YES)
    promote(store, one, lambda _: Decision(False, "is the champion already"))
    assert [e.what for e in history(store, "itself")] == ["promoted"]


def test_a_roll_back_goes_to_the_one_before_and_a_second_one_undoes_it(store: Store) -> None:
    first, second, third = three(store, "back")
    with pytest.raises(TrackingError, match="back has no champion to roll back"):
        roll_back(store, "back", "why")
    promote(store, first, lambda _: YES)
    with pytest.raises(TrackingError, match="has had no champion before version 1; name a version"):
        roll_back(store, "back", "why")
    promote(store, second, lambda _: YES)
    assert roll_back(store, "back", "wrong at night").number == "1"
    assert aliases(store, "back") == {"challenger": "3", "champion": "1", "previous": "2"}
    assert rolled_back(store, second) == "version 2 was rolled back by ada@lab: wrong at night"
    assert rolled_back(store, first) == rolled_back(store, third) == ""
    roll_back(store, "back", "it was the lamp")
    assert aliases(store, "back")["champion"] == "2"
    assert rolled_back(store, second) == ""
    roll_back(store, "back", "try it", to="3")
    assert aliases(store, "back") == {"challenger": "3", "champion": "3", "previous": "2"}
    with pytest.raises(TrackingError, match="back version 3 is the champion already"):
        roll_back(store, "back", "again", to="champion")
    with pytest.raises(TrackingError, match="has no back version 9: there are"):
        roll_back(store, "back", "why", to="9")
    promote(store, second, lambda _: Decision(True, "by hand"))
    promote(store, third, lambda _: YES)
    assert rolled_back(store, second) == ""  # what is deposed by a better one is no roll-back
    assert [e.what for e in history(store, "back")].count("rolled back") == 3


def test_what_moved_while_two_were_compared_is_compared_again(store: Store) -> None:
    first, second, third = three(store, "meanwhile")
    promote(store, first, lambda _: YES)
    seen = []

    def judge(holder: Version | None) -> Decision:
        assert holder is not None
        seen.append(holder.number)
        if len(seen) == 1:
            promote(store, second, lambda _: YES)
        return Decision(holder.number == "1", f"against {holder.number}")

    assert promote(store, third, judge) == Decision(False, "against 2")
    assert seen == ["1", "2"]
    assert aliases(store, "meanwhile")["champion"] == "2"


def test_one_who_is_moved_under_for_ever_says_so(store: Store) -> None:
    versions = [registered(store, "busy") for _ in range(3)]
    turn = iter(versions[i % 2] for i in range(20))

    def judge(holder: Version | None) -> Decision:
        promote(store, next(turn), lambda _: YES)
        return YES

    with pytest.raises(TrackingError, match="others keep moving the champion of busy"):
        promote(store, versions[2], judge)
    assert "3" not in (aliases(store, "busy")["champion"])


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", range(1, 6))
def test_a_promotion_killed_at_any_step_is_finished_by_the_next_who_looks(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    model = f"killed-{step}"
    first, second = registered(store, model, range(9)), registered(store, model, range(5))
    promote(store, first, lambda _: YES)
    calls = []
    # The intent; a note for each of the two; previous; champion.
    for name in (
        "set_registered_model_tag",
        "set_model_version_tag",
        "set_registered_model_alias",
        "delete_registered_model_tag",
    ):
        real = getattr(store.client, name)

        def dying(*arguments, real=real):
            if len(calls) == step:
                raise Killed
            calls.append(1)
            return real(*arguments)

        monkeypatch.setattr(store.client, name, dying)
    with pytest.raises(Killed):
        promote(store, second, lambda _: YES)
    monkeypatch.undo()
    monkeypatch.setattr(promotion, "_dead", lambda intent: True)
    (done,) = repair(store, model)
    assert (done.what, done.number, done.champion, done.why) == ("promoted", "2", "1", "better")
    assert aliases(store, model) == {"challenger": "2", "champion": "2", "previous": "1"}
    assert [e.number for e in history(store, model)] == ["1", "2"]
    assert repair(store, model) == []


def test_the_dead_are_told_from_the_living(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = promotion._process()
    assert not promotion._dead(mine)
    assert promotion._dead({**mine, "started": mine["started"] - 100})  # its number was given anew
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    assert promotion._dead({**mine, "pid": child.pid})
    elsewhere = {**mine, "host": "another", "pid": child.pid}
    assert not promotion._dead(elsewhere)  # it cannot be known, but after a while it is
    one = registered(store, "elsewhere")
    begun = {**vars(audit.event("promoted", "better", one.number)), **elsewhere}
    store.client.set_registered_model_tag("elsewhere", "soup.moving.x", json.dumps(begun))
    monkeypatch.setattr(promotion, "PATIENCE", 0.0)
    assert [e.number for e in repair(store, "elsewhere")] == ["1"]
    assert aliases(store, "elsewhere")["champion"] == "1"


def test_an_intent_is_dropped_if_a_third_was_made_champion_by_hand_meanwhile(store: Store) -> None:
    three(store, "hand")
    store.client.set_registered_model_alias("hand", "champion", "3")
    begun = {**vars(audit.event("promoted", "better", "2", "1")), **promotion._process()}
    begun["started"] = 0.0
    store.client.set_registered_model_tag("hand", "soup.moving.x", json.dumps(begun))
    repair(store, "hand")
    assert aliases(store, "hand") == {"challenger": "3", "champion": "3"}
    assert history(store, "hand") == []


def _contend(folder: str, number: str, pipe) -> None:
    store = open_store(Path(folder))
    challenger = version(store, "contended", number)

    def judge(holder: Version | None) -> Decision:
        before = int(holder.tags["errors"]) if holder else 99
        errors = int(challenger.tags["errors"])
        return Decision(errors < before, f"{errors} against {before}")

    promotion.PATIENCE = PATIENCE  # with others, who are slow and not dead
    pipe.send("ready")
    pipe.recv()
    try:
        pipe.send(promote(store, challenger, judge).promote)
    except TrackingError as error:
        pipe.send(str(error))


def test_of_promotions_at_once_each_sees_the_newer_champion_or_fails_clearly(
    tmp_path: Path,
) -> None:
    """Six processes, started by one signal; the order of moves must be one of falling errors."""
    store = open_store(tmp_path)
    for i in range(6):
        registered(store, "contended", range(20 - 3 * i))
    context = fork_server()
    pipes, processes = [], []
    for number in range(1, 7):
        own, theirs = context.Pipe()
        process = context.Process(target=_contend, args=(str(tmp_path), str(number), theirs))
        process.start()
        pipes.append(own)
        processes.append(process)
    for pipe in pipes:
        assert pipe.recv() == "ready"
    for pipe in pipes:
        pipe.send("go")
    outcomes = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    moves = [e for e in history(store, "contended") if e.what == "promoted"]
    before = ""
    for move in moves:  # one after the other, each from the champion that was
        assert move.champion == before
        assert not before or int(move.number) > int(before)
        before = move.number
    held = aliases(store, "contended")
    assert held["champion"] == before
    assert [outcome for outcome in outcomes if outcome is True] == [True] * len(moves)
    failed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert all("others keep moving" in told for told in failed)
    if not failed:
        assert held["champion"] == "6"
    print(f"{len(moves)} moved, {outcomes.count(False)} refused, {len(failed)} gave up")
