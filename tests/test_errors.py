"""What an error says: a full disk in everybody's words, passwords hidden, a file named."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from soup.errors import BadInput, DiskFull, full_disk, some, tells_what, without_password


def test_a_full_disk_is_known_by_number_by_words_and_as_the_cause_of_another_error() -> None:
    plain = OSError(errno.ENOSPC, "No space left on device", "/data/x.safetensors")
    told = full_disk(plain)
    assert isinstance(told, DiskFull)
    assert "the disk is full" in str(told)
    assert "/data/x.safetensors" in str(told)
    assert full_disk(RuntimeError("I/O error: os error 28")) is not None
    outer = ValueError("cannot log")
    outer.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert full_disk(outer) is not None
    assert full_disk(told) is told
    assert full_disk(OSError(errno.EACCES, "Permission denied")) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_system_itself_says_so() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Path("/dev/full").write_text("x")
    assert full_disk(caught.value) is not None


def test_a_list_in_a_message_is_cut_short_and_says_by_how_much() -> None:
    assert some([], 2) == ""
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c"], 2) == "a, b, and 1 more"
    assert some(("a", 2, "c", "d"), 2, last=" ") == "a, 2 and 2 more"
    assert some(["a", "b", "c", "d"], 3, "\n  ") == "a\n  b\n  c\n  and 1 more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MLflow at http://ada:secret@host:5000/x failed", "MLflow at http://host:5000/x failed"),
        ("postgresql://ada:s@cret@db/mlflow", "postgresql://db/mlflow"),
        ("ray://token@head:10001, s3://bucket/a@b", "ray://head:10001, s3://bucket/a@b"),
        ("write to ada@example.org", "write to ada@example.org"),
        ("sqlite:////home/ada/mlflow.db", "sqlite:////home/ada/mlflow.db"),
    ],
)
def test_no_message_holds_a_password(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert str(BadInput(text)) == shown
    told = full_disk(OSError(errno.ENOSPC, "No space left on device", text))
    assert told is not None
    assert "secret" not in str(told)


def test_the_systems_words_are_enough_where_they_name_a_file() -> None:
    assert tells_what(BadInput("lr must be above 0"))
    assert tells_what(OSError("model.pt was cut short while it was read"))
    with pytest.raises(FileNotFoundError) as missing:
        Path("nowhere").read_bytes()
    assert tells_what(missing.value)
    with pytest.raises(OSError, match="Bad file descriptor") as closed:
        os.close(-1)
    assert not tells_what(closed.value)
    assert not tells_what(TimeoutError())

    class Refused(OSError):
        def __str__(self) -> str:
            return "cannot connect to host h"

    assert tells_what(Refused(errno.ECONNREFUSED, "Connection refused"))
    assert not tells_what(ValueError("x"))


def test_a_chain_of_causes_that_is_a_ring_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert full_disk(one) is None
