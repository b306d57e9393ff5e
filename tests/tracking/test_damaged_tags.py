"""Damaged tags of a promotion: told, set aside, and nobody is blocked by them."""

import json
import logging
from pathlib import Path

import pytest

from soup.evaluation.promotion_gate import Decision, Scored, decide
from soup.models.allowed_files import Refused
from soup.tracking import (
    Store,
    Version,
    aliases,
    audit,
    fetch,
    history,
    promote,
    promotion,
    registered_files,
)
from tests.registries import answers, open_store, registered

pytestmark = pytest.mark.slow
YES = Decision(True, "better")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "PATIENCE", 0.0)


def intent(**changes: object) -> str:
    process = promotion._process() | {"started": 0.0}
    return json.dumps(vars(audit.event("promoted", "better", "1")) | process | changes)


DAMAGED = {
    "no JSON": "{",
    "no table": "[]",
    "deep": "[" * 5000,
    "no process": json.dumps(vars(audit.event("promoted", "better", "1"))),
    "no number": intent(number="one"),
    "a pid that is none": intent(pid=-1),
    "no time": intent(started="never"),
    "no move": intent(what="copied"),
    "no such version": intent(number="77"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_move_is_set_aside_and_told_and_blocks_no_promotion(
    store: Store, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = kind.replace(" ", "-")
    first = registered(store, model)
    store.client.set_registered_model_tag(model, "soup.moving.x", DAMAGED[kind])
    with caplog.at_level(logging.WARNING):
        assert promote(store, first, lambda _: YES).promote
    assert aliases(store, model)["champion"] == "1"
    assert [event.number for event in history(store, model)] == ["1"]
    (told,) = caplog.messages
    assert f"the tag soup.damaged.x of {model}" in told
    assert "is damaged: " in told
    assert "mend or delete it there" in told
    assert "\n" not in told
    tags = store.client.get_registered_model(model).tags
    assert tags == {"soup.damaged.x": DAMAGED[kind]}  # nothing is lost
    caplog.clear()
    promote(store, first, lambda _: Decision(False, "worse"))
    assert caplog.messages == []  # it is told once


def test_a_move_that_cannot_be_read_is_waited_for_before_it_is_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of this program may have written it, and be at work."""
    registered(store, "waited")
    monkeypatch.setattr(promotion, "PATIENCE", 60.0)
    store.client.set_registered_model_tag("waited", "soup.moving.x", "{}")
    waits: list[int] = []

    def pause() -> None:
        waits.append(1)
        if len(waits) == 3:  # the other is done
            store.client.delete_registered_model_tag("waited", "soup.moving.x")

    monkeypatch.setattr(promotion, "_pause", pause)
    promotion.repair(store, "waited")
    assert len(waits) == 3
    assert store.client.get_registered_model("waited").tags == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"what": "promoted"}', "[" * 5000])
def test_a_damaged_note_is_left_out_of_the_history_and_told(
    store: Store, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = f"note-{len(text)}"
    first = registered(store, model)
    promote(store, first, lambda _: YES)
    store.client.set_model_version_tag(model, "1", "soup.audit.2026-01-01T000000Z", text)
    with caplog.at_level(logging.WARNING):
        assert [event.what for event in history(store, model)] == ["promoted"]
    assert f"the tag soup.audit.2026-01-01T000000Z of {model} version 1" in caplog.messages[0]
    second = registered(store, model)
    assert promote(store, second, lambda _: YES).promote


@pytest.mark.parametrize("text", ["{", "[1]", '{"MLmodel": 3}', "[" * 5000])
def test_damaged_digests_are_refused_by_the_name_of_the_tag(
    store: Store, tmp_path: Path, text: str
) -> None:
    version = registered(store, f"digests-{len(text)}")
    damaged = Version(version.model, "1", version.run_id, version.tags | {"files": text})
    with pytest.raises(Refused, match=r"its tag soup\.files is .*; delete the version") as caught:
        fetch(store, damaged, tmp_path / "target")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "target").exists()


def test_answers_of_another_length_are_not_compared() -> None:
    ours = Scored("2", "split", answers(range(3)))
    theirs = Scored("1", "split", answers(range(9), n=80))  # the same split, by a damaged tag
    assert decide(ours, theirs, lambda: answers(range(9))).reason.startswith("3 held-out errors")


def test_digests_that_are_whole_are_read(store: Store) -> None:
    version = registered(store, "whole")
    assert all(len(digest) == 64 for digest in registered_files(version).values())
