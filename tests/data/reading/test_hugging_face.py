"""Hugging Face data sets through timm's own reader, on a stand-in for the package it needs."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import timm.data.readers  # seconds, which no single test should seem to take
from PIL import Image

from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.reading import hugging_face
from soup.data.reading.image_file import fingerprint, image, size_in_bytes
from soup.data.reading.limits import Limits
from soup.data.sources.listing import listed, states
from tests.data.shifts.layouts import encoded

READER = "timm.data.readers.reader_hfds"


class Rows:
    """What timm's reader uses of a data set: rows, columns, features."""

    def __init__(self, labels: list[int], names: list[str] | None) -> None:
        self.labels = labels
        feature = SimpleNamespace(names=names) if names else SimpleNamespace()
        self.info = SimpleNamespace(features={"image": None, "label": feature}, splits=None)
        self.column_names = ["image", "label"]
        self._fingerprint = f"of {labels}"

    def cast_column(self, name: str, kind: object) -> "Rows":
        assert (name, kind) == ("image", "undecoded")
        return self

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.labels
        return {"image": {"bytes": encoded(key), "path": None}, "label": self.labels[key]}


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Rows]:
    """(name, split) -> data set; what `datasets.load_dataset` finds."""
    known: dict[tuple[str, str], Rows] = {}
    package: Any = ModuleType("datasets")
    package.load_dataset = lambda name, split, **_: known[name, split]
    package.Image = lambda decode: "decoded" if decode else "undecoded"
    monkeypatch.setitem(sys.modules, "datasets", package)
    monkeypatch.delitem(sys.modules, READER, raising=False)
    hugging_face.reader.cache_clear()
    yield known
    hugging_face.reader.cache_clear()
    sys.modules.pop(READER, None)


def test_rows_have_paths_that_any_process_can_read(sets: dict, tmp_path: Path) -> None:
    sets["org/flowers", "train"] = Rows([1, 0], ["rose", "tulip"])
    made = listed(Source(path="hfds/org/flowers"), tmp_path, "train")
    assert [(f.path, f.label) for f in made.found] == [
        ("hfds:org/flowers@train::0000000", "tulip"),
        ("hfds:org/flowers@train::0000001", "rose"),
    ]
    hugging_face.reader.cache_clear()
    path = tmp_path / made.found[1].path
    assert image(path, fingerprint(path, "decode")).tobytes() == raw(1)
    assert size_in_bytes(path) == len(encoded(1))
    assert fingerprint(path, "header") == f"{len(encoded(1))}-bytes"


def raw(seed: int) -> bytes:
    import io

    return Image.open(io.BytesIO(encoded(seed))).tobytes()


def test_a_data_set_that_names_no_classes_has_numbers(sets: dict, tmp_path: Path) -> None:
    sets["plain", "val"] = Rows([10, 2], None)
    made = listed(Source(path="hfds/plain", split="val"), tmp_path, "test")
    assert [f.label for f in made.found] == ["00010", "00002"]
    assert made.numbered


def test_another_content_is_another_state(sets: dict, tmp_path: Path) -> None:
    def state(labels: list[int]) -> list:
        sets["x", "train"] = Rows(labels, None)
        hugging_face.reader.cache_clear()
        return states(listed(Source(path="hfds/x"), tmp_path, "train"), tmp_path)

    assert state([1, 2]) == state([1, 2]) != state([1, 3])


def test_a_row_or_a_data_set_that_is_not_there_is_named(sets: dict, tmp_path: Path) -> None:
    sets["x", "train"] = Rows([1], None)
    with pytest.raises(DataError, match=r"No such row: x \(train\) has 1"):
        image(tmp_path / hugging_face.path_of("x", "train", 1))
    with pytest.raises(DataError, match=r"hfds/y, split train, cannot be had"):
        listed(Source(path="hfds/y"), tmp_path, "train")
    sets["z", "train"] = Rows([1], None)
    sets["z", "train"].column_names = ["image", "fine"]
    with pytest.raises(DataError, match=r"hfds/z has no column 'label': it has image, fine"):
        listed(Source(path="hfds/z"), tmp_path, "train")


def test_without_the_package_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, READER, raising=False)
    hugging_face.reader.cache_clear()
    with pytest.raises(DataError, match=r"hfds/x needs the package 'datasets': pip install data"):
        listed(Source(path="hfds/x"), tmp_path, "train")


def test_a_path_of_another_kind_is_no_row() -> None:
    assert hugging_face.row(Path("/data/t.tar::a/1.png")) is None
    assert hugging_face.row(Path("/data/hfds:x/1.png")) is None
    assert hugging_face.row(Path("/r") / hugging_face.path_of("/local/set", "train[:9]", 3)) == (
        "/local/set",
        "train[:9]",
        3,
    )


def test_timm_still_has_the_reader_that_this_goes_by() -> None:
    assert importlib.util.find_spec(READER)
    assert timm.data.readers.create_reader


def test_a_row_that_names_a_pipe_in_place_of_its_picture_is_refused(
    tmp_path: Path, sets: dict[tuple[str, str], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sets["x", "train"] = Rows([0], ["a"])
    there, pipe = tmp_path / "there.png", tmp_path / "pipe"
    there.write_bytes(encoded(0))
    os.mkfifo(pipe)

    def naming(path: Path) -> None:
        cell = {"image": {"bytes": None, "path": str(path)}, "label": 0}
        monkeypatch.setattr(Rows, "__getitem__", lambda *_: cell)

    assert len(rows) == 1
    naming(there)
    assert hugging_face.read("x", "train", 0) == encoded(0)
    naming(pipe)
    with pytest.raises(OSError, match=r"row 0 of x names .*pipe, which is no regular file"):
        hugging_face.read("x", "train", 0)
    naming(there)
    monkeypatch.setattr(hugging_face, "default_limits", lambda: Limits(megabytes=1e-6))
    with pytest.raises(ValueError, match="megabytes"):
        hugging_face.read("x", "train", 0)
