"""Lists in Parquet: only the columns that are asked for are read, and sizes are summed first."""

from pathlib import Path
from typing import Any

import pytest

from soup import limits
from soup.data.errors import DataError
from soup.data.sources import parquet
from soup.data.sources.lists import Line, read_list

pa = pytest.importorskip("pyarrow")


def written(file: Path, columns: dict[str, Any], **options: Any) -> Path:
    from pyarrow.parquet import write_table

    write_table(pa.table(columns), file, **options)
    return file


def refused(file: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_list(file, {}, "train")
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_columns_of_pictures_are_neither_read_nor_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [{"bytes": bytes(range(256)) * 400, "path": "x"}] * 2
    columns = {"image": pictures, "path": ["a", "b"], "label": [1, None], "split": ["train"] * 2}
    file = written(tmp_path / "l.parquet", columns | {"label": [1, 2]}, compression="none")
    assert parquet.names(file) == ["path", "label", "split"]
    monkeypatch.setattr(limits, "LIST_BYTES", 2000)
    assert read_list(file, {}, "train") == [Line("a", "1", 1), Line("b", "2", 2)]
    monkeypatch.setattr(limits, "LIST_BYTES", 20)
    assert "bytes in path, label, split; at most 20 are read (limit LIST_BYTES" in refused(file)


def test_cells_are_bounded_however_often_rows_repeat_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"path": [f"{i}.png" for i in range(9)], "label": ["y" * 41] * 9}
    file = written(tmp_path / "l.parquet", columns)
    assert len(read_list(file, {}, "train")) == 9
    monkeypatch.setattr(limits, "LIST_TEXT", 10)
    assert "a cell of 41 bytes in label; at most 10 are read (limit LIST_TEXT" in refused(file)


def test_rows_are_counted_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "l.parquet", {"path": ["a", "b"], "label": ["x", "y"]})
    monkeypatch.setattr(limits, "LIST_ROWS", 1)
    monkeypatch.setattr(parquet, "columns", None)
    assert "it has 2 rows; at most 1 are read (limit LIST_ROWS" in refused(file)


def test_all_kinds_of_cells_are_text(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["a", "b", None]).dictionary_encode(),
        "label": [1.0, 2.5, float("nan")],
        "flag": [True, None, False],
        "none": pa.nulls(3),
        "data": [b"x"] * 3,
        "list": [[1]] * 3,
    }
    file = written(tmp_path / "l.parquet", columns, row_group_size=2)
    assert parquet.names(file) == ["path", "label", "flag", "none"]
    assert parquet.columns(file, ["path", "label", "flag", "none"]) == {
        "path": ["a", "b", ""],
        "label": ["1", "2.5", ""],
        "flag": ["True", "", "False"],
        "none": ["", "", ""],
    }


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1 no more")
    assert "cannot be read as Parquet" in refused(tmp_path / "l.parquet")


@pytest.mark.parametrize("name", ["l.csv", "l.txt"])
def test_text_lists_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text("path,label\na,x\n" if name == "l.csv" else "a x\n")
    assert read_list(tmp_path / name, {}, "train")[0].path == "a"
    monkeypatch.setattr(limits, "LIST_BYTES", 2)
    assert "bytes; at most 2 are read (limit LIST_BYTES in soup/limits.py)" in refused(
        tmp_path / name
    )
