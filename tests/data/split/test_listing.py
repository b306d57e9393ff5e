"""The listing of images, by which prepare knows that it must run again."""

import os
from pathlib import Path
from typing import Any

import pytest

from soup.config.data import Shift
from soup.data.split.prepare import listing
from tests.worlds import world


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change", [rewrite, touch, Path.unlink, lambda p: p.rename(p.parent / "z.png")]
)
def test_the_listing_changes_when_a_file_does(tmp_path: Path, change: Any) -> None:
    data = world(tmp_path, train=3)
    before = listing(data, tmp_path)
    assert listing(data, tmp_path) == before
    (tmp_path / "train/red/notes.txt").touch()
    assert listing(data, tmp_path) == before
    change(tmp_path / "test/red/501.png")
    assert listing(data, tmp_path) != before


def test_the_listing_changes_when_a_class_map_does(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("folder,class\n")
    data = world(tmp_path, train=3, shifts={"r": Shift(folder="test", classes="map.csv")})
    before = listing(data, tmp_path)
    assert listing(data, tmp_path) == before
    rewrite(tmp_path / "map.csv")
    assert listing(data, tmp_path) != before
    (tmp_path / "map.csv").unlink()
    assert listing(data, tmp_path) != before
