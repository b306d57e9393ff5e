"""Ways that are programs of their own answer in their last line."""

import importlib
from pathlib import Path

import pytest


def test_the_answer_is_the_last_line(tmp_path: Path) -> None:
    program = tmp_path / "way.py"
    program.write_text(
        """import json, sys
print("warned")
print(json.dumps({"told": sys.stdin.read(), "given": sys.argv[1:]}))
"""
    )
    answer = importlib.import_module("programs").answer
    assert answer(program, "x", 2, told="go") == {"told": "go", "given": ["x", "2"]}


def test_a_way_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "way.py"
    program.write_text("raise SystemExit('no such file')")
    with pytest.raises(SystemExit, match=r"(?s)way\.py 1 failed:.*no such file"):
        importlib.import_module("programs").answer(program, 1)
