"""What a fine-tune tells from another process arrives, in order and once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.runners import event_log
from flows.runners.event_log import Reader, Refused, Writer, follow
from soup.errors import BadInput
from soup.train.worker_process import Crashed, Failed


class Listener:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        self.told.append(("step", name, step, dict(metrics)))

    def done(self, name: str, message: str) -> None:
        self.told.append(("done", name, message))

    def say(self, message: str) -> None:
        self.told.append(("say", message))


def test_all_is_told_and_the_outcome_is_that_of_the_other_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "OFTEN", 1e-9)
    listener = Listener()
    reader = Reader(tmp_path / "a.jsonl", listener)
    reader.read()
    assert reader.heard is None
    with Writer(tmp_path / "a.jsonl") as writer:
        writer.step("ft-000", 1, {"train/loss": 0.5})
        monkeypatch.setattr(event_log, "OFTEN", 1e9)
        writer.step("ft-000", 2, {"train/loss": 0.4})  # too soon
        writer.step("ft-000", 3, {"heldout/accuracy": 0.75})
        reader.read()
        assert reader.heard is not None
        assert not reader.ended
        writer.say("out of memory: halved")
        writer.done("ft-000", "75.00% held-out in 3 s")
        writer.outcome({"ft-000": "run"})
    reader.read()
    assert reader.outcome("unheard") == {"ft-000": "run"}
    assert listener.told == [
        ("step", "ft-000", 1, {"train/loss": 0.5}),
        ("step", "ft-000", 3, {"heldout/accuracy": 0.75}),
        ("say", "out of memory: halved"),
        ("done", "ft-000", "75.00% held-out in 3 s"),
    ]


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    listener, path = Listener(), tmp_path / "a.jsonl"
    reader = Reader(path, listener)
    path.write_text('["say", "first"]\n["say", "sec')
    reader.read()
    assert listener.told == [("say", "first")]
    with path.open("a") as file:
        file.write('ond"]\n')
    reader.read()
    assert listener.told == [("say", "first"), ("say", "second")]


@pytest.mark.parametrize(
    ("raised", "arrives"),
    [
        (BadInput("no such file"), Refused),
        (Crashed("its process was killed"), Crashed),
        (Failed("the loss became nan"), Failed),
        (KeyError(), Failed),
    ],
)
def test_what_is_raised_there_is_raised_here(
    tmp_path: Path, raised: Exception, arrives: type[Exception]
) -> None:
    with Writer(tmp_path / "a.jsonl") as writer:
        writer.outcome(raised)
    reader = Reader(tmp_path / "a.jsonl", Listener())
    reader.read()
    with pytest.raises(arrives) as caught:
        reader.outcome("unheard")
    assert type(caught.value) is arrives
    assert str(caught.value) == (str(raised) or type(raised).__name__)


def test_who_ends_without_a_word_has_crashed(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "none.jsonl", Listener())
    with pytest.raises(Crashed, match="its host is gone"):
        reader.outcome("its host is gone")


def test_what_is_written_while_the_worker_ends_is_still_read(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "a.jsonl", Listener())

    def over() -> bool:
        with Writer(tmp_path / "a.jsonl") as writer:
            writer.outcome(0.5)
        return True

    follow(reader, over, every=0)
    assert reader.outcome("unheard") == 0.5


def test_a_rung_of_what_is_finished_is_infinite_on_the_way_too(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.jsonl") as writer:
        writer.outcome(float("inf"))
    reader = Reader(tmp_path / "a.jsonl", Listener())
    reader.read()
    assert reader.outcome("unheard") == float("inf")


def test_a_long_silence_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "BEAT", 0.01)
    reader = Reader(tmp_path / "a.jsonl", Listener(), clock := iter(range(1000)).__next__)
    with Writer(tmp_path / "a.jsonl"):
        while (tmp_path / "a.jsonl").stat().st_size < 40:
            pass
        reader.read()
    assert reader.heard is not None
    assert clock() > 2
