"""Databases that tests begin with are made once, where they are said to be kept."""

import shutil
from pathlib import Path

import pytest

from tests import homes


def test_a_database_is_made_once_and_nothing_is_written_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("MODELSOUP_TEST_DATABASES", str(kept))
    made = []

    def make(database: Path) -> None:
        made.append(database)
        database.write_text("tables")

    monkeypatch.setitem(homes.PROGRAMS, "prefect", make)
    for name in ("first", "second"):
        assert (homes.furnish(tmp_path / name) / homes.NAME).read_text() == "tables"
        for lock in kept.glob("*.lock"):  # of the first, and of no other
            assert name == "first"
            lock.unlink()
    assert len(made) == 1
    shutil.rmtree(kept)
    homes.furnish(tmp_path / "first")  # which has its own
    assert not kept.exists()
