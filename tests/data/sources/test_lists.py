"""Lists of images: whatever their columns are called, and every bad line by its number."""

import sys
from pathlib import Path

import pytest

from soup.data.errors import DataError
from soup.data.sources.lists import Line, read_list, text_lines
from tests.data.shifts.layouts import as_csv


def refused(file: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read_list(file, options.get("columns", {}), "train")  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (("path", "label"), {}),
        (("file_name", "Class"), {}),
        (("ImageId", "WNID"), {}),
        (("whatever", "y"), {"path": "whatever", "label": "y"}),
    ],
)
def test_columns_are_guessed_or_given(
    tmp_path: Path, header: tuple[str, str], columns: dict
) -> None:
    rows = [("7", *row) for row in [("a b/1.png", "x y"), ("2.png", "z")]]
    file = as_csv(tmp_path / "l.csv", rows, ("index", *header))
    assert read_list(file, columns, "train") == [Line("a b/1.png", "x y", 2), Line("2.png", "z", 3)]


def test_a_tab_separated_file_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "l.tsv", [("a, b.png", "x")], delimiter="\t")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_list(file, {}, "train") == [Line("a, b.png", "x", 2)]


def test_text_has_a_path_and_a_label_a_line(tmp_path: Path) -> None:
    file = tmp_path / "l.txt"
    file.write_text("a b.png 3\nc.png\tn01440764\n\n")
    assert read_list(file, {}, "train") == [Line("a b.png", "3", 1), Line("c.png", "n01440764", 2)]
    file.write_text("a.png 1\nb.png\n\nc.png 2\n")
    assert refused(file) == f"{file}: expected 'path label', not so in line 2, 3"


def test_of_kaggle_s_boxes_the_first_word_is_the_label(tmp_path: Path) -> None:
    rows = [("ILSVRC2012_val_00000001", "n01751748 111 108 441 193 n01751748 1 2 3 4")]
    file = as_csv(tmp_path / "LOC_val_solution.csv", rows, ("ImageId", "PredictionString"))
    assert read_list(file, {}, "train") == [Line("ILSVRC2012_val_00000001", "n01751748", 2)]


def test_parquet_keeps_whole_numbers_whole_and_ignores_what_is_no_text(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pandas as pd

    frame = pd.DataFrame({"path": ["a", "b"], "label": [1.0, None], "image": [{"bytes": b""}] * 2})
    frame.to_parquet(tmp_path / "l.parquet")
    assert refused(tmp_path / "l.parquet").endswith("cannot be used:\n  line 2: no label")
    frame.fillna({"label": 2.0}).to_parquet(tmp_path / "l.parquet")
    assert read_list(tmp_path / "l.parquet", {}, "train") == [Line("a", "1", 1), Line("b", "2", 2)]
    (tmp_path / "l.parquet").write_bytes(b"PAR1 no more")
    assert "cannot be read as Parquet" in refused(tmp_path / "l.parquet")


def test_without_pyarrow_parquet_says_which_package_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "l.parquet needs the package 'pyarrow'" in refused(tmp_path / "l.parquet")


def test_a_column_that_cannot_be_guessed_or_is_not_there_is_asked_for(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "l.csv", [("a", "b")], ("one", "two"))
    assert refused(file) == (
        f"{file}: which column holds the paths? It has one, two; set columns: {{path: NAME}}"
    )
    assert refused(file, columns={"path": "three"}) == (
        f"{file} has no column 'three': it has one, two"
    )


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    rows = [("a", "x"), ("", "x"), ("b", ""), ("a", "y"), ("a", "x")]
    file = as_csv(tmp_path / "l.csv", rows)
    assert refused(file).splitlines() == [
        f"{file} cannot be used:",
        "  line 3: no path",
        "  line 4: no label",
        "  lines 2 and 5: a twice, as x and y",
        "  lines 2 and 6: a twice",
    ]


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "l.csv", [(f"{i}", "") for i in range(30)])
    assert refused(file).endswith("line 21: no label\n  and 10 more")


def test_rows_of_another_width_are_named(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "l.csv", [("a", "x"), ("b",), ("c", "x", "z")])
    assert refused(file) == f"{file}: 2 columns in the header, another number in line 3, 4"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"path,label\n"])
def test_what_is_no_list_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    assert str(tmp_path / "l.csv") in refused(tmp_path / "l.csv")


def test_lines_of_text_are_trimmed(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(" a \n\nb\r\n\n")
    assert text_lines(tmp_path / "t.txt") == ["a", "", "b"]
    with pytest.raises(DataError, match=r"no\.txt cannot be read"):
        text_lines(tmp_path / "no.txt")
