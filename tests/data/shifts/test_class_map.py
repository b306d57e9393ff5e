"""Class maps in their three forms, and what a broken one is told."""

from pathlib import Path

import pytest

from soup.data.shifts.class_map import read
from soup.data.sources.folders import DataError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.yaml", "0: cat\n1: [cat, 7]\n2: null\n3: []\n"),
        ("map.yml", "'0': [cat]\n'1': [cat, 7, cat]\n'2':\n'3': []\n"),
        ("map.json", '{"0": "cat", "1": ["cat", 7], "2": null, "3": []}'),
        ("map.CSV", "class,folder\ncat,0\ncat,1\n7,1\n,2\n,3\n"),
    ],
)
def test_a_folder_means_one_class_or_several_or_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == {"0": ("cat",), "1": ("cat", "7"), "2": (), "3": ()}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("map.txt", "a: b", "must be one of .yaml, .yml, .json, .csv"),
        ("map.yaml", None, "cannot be read: .*No such file"),
        ("map.yaml", "a: [b", "cannot be read"),
        ("map.json", "{", "cannot be read"),
        ("map.json", "[]", "must be a table of folder: class"),
        ("map.yaml", "", "must be a table of folder: class"),
        ("map.yaml", "a: {b: c}\nd: [[e]]\nf: g\n", "a list of classes, or null: a, d$"),
        ("map.yaml", "a: true\nb: cat\n", "or null: a$"),
        ("map.csv", "folder,label\na,b\n", "columns .*expected folder and class"),
    ],
)
def test_what_is_no_class_map_is_told_why(
    tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read(tmp_path / name)
