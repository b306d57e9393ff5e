"""Tables of texts, against files written by hand and by other programs."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soup.data.errors import DataError
from soup.data.text.tables import read_table
from tests.hubs import rows

CELLS = st.text(
    st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), max_size=12
)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_lone_quote_in_a_tab_separated_file_is_a_quote(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", 'sentence\tlabel\n"an open quote\t1\nand no end\t0\n')
    table = read_table(file)
    assert table.columns == {"sentence": ['"an open quote', "and no end"], "label": ["1", "0"]}
    assert table.numbers == [1, 2]


def test_a_byte_order_mark_and_windows_line_ends_are_not_part_of_a_cell(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "Quality\t#1 String\r\n1\tone\r\n", "utf-8-sig")
    assert read_table(file).columns == {"Quality": ["1"], "#1 String": ["one"]}


def test_characters_that_python_takes_for_line_ends_stay_in_their_sentence(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "sentence\tlabel\nbefore\x85after\u2028end\t1\n")
    assert read_table(file).columns["sentence"] == ["before\x85after\u2028end"]


def test_a_row_with_another_number_of_cells_is_told_and_the_others_keep_their_numbers(
    tmp_path: Path,
) -> None:
    table = read_table(write(tmp_path / "a.tsv", "s\tl\na\t1\nbroken\nb\t0\n"))
    assert table.columns["s"] == ["a", "b"]
    assert table.numbers == [1, 3]
    assert table.malformed == {2: "1 cells instead of 2"}


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_all_forms_of_a_table_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame.to_csv(folder / "a.csv", index=False, quoting=csv.QUOTE_ALL)
    frame.to_parquet(folder / "a.parquet")
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    write(folder / "a.jsonl", "\n".join(lines))
    body = "".join(f"{text}\t{label}\n" for text, label in rows)
    write(folder / "a.tsv", "text\tlabel\n" + body)
    wanted = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    for suffix in ("csv", "parquet", "jsonl", "tsv"):
        assert read_table(folder / f"a.{suffix}").columns == wanted, suffix


def test_a_quoted_cell_of_a_csv_may_hold_lines_and_its_rows_are_numbered(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.csv", 'text,label\n"two\nlines",1\nb,0\n'))
    assert table.columns["text"] == ["two\nlines", "b"]
    assert table.numbers == [1, 2]


def test_numbers_and_gaps_of_json_lines_become_text(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.jsonl", '{"a": 3.0, "b": null}\n{"b": true}\n'))
    assert table.columns == {"a": ["3", ""], "b": ["", "True"]}


def test_a_folder_of_save_to_disk_is_read_with_the_names_of_its_classes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.table({"sentence": ["a", "b"], "label": [1, 0], "tokens": [["x"], []]})
    file = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    files = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    write(folder / "state.json", json.dumps(files))
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    write(folder / "dataset_info.json", json.dumps({"features": features}))
    assert read_table(folder).columns == {"sentence": ["a", "b"], "label": ["yes", "no"]}
    write(folder / "state.json", json.dumps({"_data_files": [{"filename": "../other.arrow"}]}))
    with pytest.raises(DataError, match="outside its folder"):
        read_table(folder)


def test_a_parquet_file_of_datasets_has_the_names_of_its_classes(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(rows(["a", "b", "c"], [1, 0, -1], ["no", "yes"]))
    table = read_table(tmp_path / "a.parquet")
    assert table.columns == {"text": ["a", "b", "c"], "label": ["yes", "no", "-1"]}
    assert table.classes == {"label"}


def test_the_size_of_a_parquet_files_texts_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(rows(["a" * 200], [1]))
    monkeypatch.setattr("soup.limits.LIST_BYTES", 200)
    with pytest.raises(DataError, match=r"a.parquet is refused: it has .*limit LIST_BYTES"):
        read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "text\tlabel\nna\u00efve\t1\n".encode("latin-1"), r"line 2, byte 13.*iconv"),
        ("a.csv", "text,label\n".encode("utf-16"), "UTF-16.*iconv -f UTF-16"),
        ("a.tsv", b"text\tlabel\n\0\t1\n", "NUL"),
        ("a.tsv", b"", "empty"),
        ("a.tsv", b"text\ttext\n", "two columns text"),
        ("a.csv", b'text,label\n"open,1\n', "no CSV"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", b"[1]\n", "line 1, is no JSON object but list"),
        ("a.parquet", b"nothing", "Parquet"),
        ("a.xlsx", b"", "none of what texts are read from"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as told:
        read_table(tmp_path / name)
    assert name in str(told.value)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label\na,1\n")
    read_table(file)
    write(file, "text,label\nab,1\n")
    assert read_table(file).columns["text"] == ["ab"]
