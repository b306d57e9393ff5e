"""The ways of a training step are all measured, and compared with ours."""

import importlib
import re
import sys

import pytest


def test_each_way_is_a_row_beside_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = importlib.import_module("steps")
    monkeypatch.setattr(benchmark, "machine", lambda: "here")
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(sys, "argv", ["steps.py", "--batch", "2", "--rounds", "2"])
    benchmark.main()
    rows = re.findall(
        r"^\| (\S.*?) +\| +\d+ \| +\d+ \| +([\d.]+) \|$", capsys.readouterr().out, re.M
    )
    assert rows[0] == (benchmark.OURS, "1.00")
    assert [name for name, _ in rows[1:]] == [
        "float32, many passes of the optimiser",
        "bfloat16, by autocast",
    ]
