"""JSON and YAML of others: read within limits, refused in one line that names the file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from soup import limits
from soup.config.yaml_text import BadYaml, parse_yaml, read_yaml
from soup.errors import LONGEST_LINE, MOST_LINES, BadInput
from soup.files import BadJson, parse_json, read_bytes, read_json


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(5), "nested deeper than 4"),
        ('{"a":' * 5 + "1" + "}" * 5, "nested deeper than 4"),
        ("[" * 5, "nested deeper than 4, or not closed"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is in a table twice"),
        ("[123456789012345678901]", "a number of 21 digits"),
        ("[1e999]", "1e999 is no finite number"),
        ("[NaN]", "NaN is no finite number"),
        (r'["a\u0000"]', "a NUL character"),
        (r'["\ud800"]', "no Unicode"),
        (b"\xff", "can't decode byte 0xff"),
        ("{", "Expecting property name"),
        ('["' + "x" * 100 + '"]', "more than 100 bytes"),
    ],
)
def test_json_beyond_a_limit_is_refused_before_it_is_used(
    text: str | bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JSON_DEPTH", 4)
    monkeypatch.setattr(limits, "JSON_BYTES", 100)
    with pytest.raises(BadJson) as caught:
        parse_json(text, "place/file.json")
    assert str(caught.value).startswith("place/file.json cannot be read as JSON: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5, True, None, "\U0001f600 é"], "b": {"c": {}}},
        {"brackets": "[[[[[[{{{{{{", "quotes": '"\\"[[[[[', "": []},
        [[[[]]], [[[1], [2]], [[3]]]],
        2**63,
    ],
)
def test_what_python_writes_is_read(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JSON_DEPTH", 4)
    assert parse_json(json.dumps(value), "it") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8-sig"), "it") == value


def test_numbers_that_json_lacks_are_read_where_python_writes_them() -> None:
    assert parse_json("[Infinity, 1e999]", "it", finite=False) == [float("inf")] * 2


def test_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BadJson, match="is no regular file"):
            read_json(path)
    with pytest.raises(BadJson, match="NUL"):
        read_bytes(f"{tmp_path}/a\0b")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(5), "nested deeper than 4"),
        ("a:\n b:\n  c:\n   d:\n    e: 1", "nested deeper than 4"),
        ("a: &a [1, 1, 1]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]", "more than 20 values"),
        ("&a [*a]", "more than 20 values"),
        ('["a\\0"]', "a NUL character"),
        ("2001-99-99", "month must be in 1..12"),
        ("{[a]: b}", "unhashable key"),
        ("x" * 101, "more than 100 bytes"),
        ("!!python/object:os.system a", "could not determine a constructor"),
    ],
)
def test_yaml_beyond_a_limit_is_refused(
    text: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "JSON_DEPTH", 4)
    monkeypatch.setattr(limits, "YAML_BYTES", 100)
    monkeypatch.setattr(limits, "YAML_VALUES", 20)
    with pytest.raises(BadYaml) as caught:
        parse_yaml(text, "map.yaml")
    assert str(caught.value).startswith("map.yaml: is not YAML: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &x [1, 2]\nb: *x\nc: {d: é}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2], "b": [1, 2], "c": {"d": "é"}}


def test_a_message_is_bounded_and_moves_no_cursor() -> None:
    message = str(BadInput("name \x1b[31m\ud800 " + "x" * 10_000 + "\n" * 1000))
    assert message.startswith(r"name \x1b[31m\ud800 xxx")
    assert len(message.split("\n")) == MOST_LINES + 1
    assert max(map(len, message.split("\n"))) <= LONGEST_LINE + 5
    assert str(BadInput("as it is: é\n  second line")) == "as it is: é\n  second line"
