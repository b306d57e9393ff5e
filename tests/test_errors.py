"""A full disk is known in everybody's words."""

import errno
import sqlite3
from pathlib import Path

import pytest

from soup.errors import DiskFull, full_disk


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
