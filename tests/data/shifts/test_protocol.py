"""Protocols on disk: what was written is read, and plain ones are not written."""

import json
from pathlib import Path

import pytest

from soup.data.shifts.protocol import EvaluationProtocol, labels, load, save
from soup.data.sources.folders import DataError


def test_protocols_come_back_and_plain_ones_need_no_words(tmp_path: Path) -> None:
    path = tmp_path / "protocols.json"
    made = {
        "objectnet": EvaluationProtocol({"a|b": ("a", "b"), "c": ("c",)}, border=2),
        "real": EvaluationProtocol({"a": ("a",)}, of="test"),
    }
    save({**made, "v2": EvaluationProtocol()}, path)
    assert load(path) == made
    assert set(json.loads(path.read_text())) == {"objectnet", "real"}


def test_a_split_of_plain_sets_has_an_empty_file(tmp_path: Path) -> None:
    save({"v2": EvaluationProtocol(), "r": EvaluationProtocol()}, tmp_path / "protocols.json")
    assert json.loads((tmp_path / "protocols.json").read_text()) == {}


@pytest.mark.parametrize("text", [None, "", "[]", '{"r": 3}', '{"r": {"answers": []}}', "{"])
def test_what_holds_no_protocols_is_refused_by_name(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "protocols.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"protocols\.json holds no protocols.*run prepare"):
        load(path)


def test_a_label_is_an_answer_or_several_joined() -> None:
    answers = {"a|b": ("a", "b"), "c": ("c",), "d": ("d",)}
    assert labels("a|b", answers) == ("a|b",)
    assert labels("c", answers) == ("c",)
    assert labels("c|d", answers) == ("c", "d")
