"""The benchmarks of evaluation and of the probe run, and their ways agree."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def data(photographs: Path) -> Path:
    if not (photographs / "data" / "test").exists():
        shutil.copytree(photographs / "data" / "train", photographs / "data" / "test")
        for path in (photographs / "data" / "test").rglob(
            "*.*"
        ):  # other pictures than those of train
            with Image.open(path) as image:
                image.point(lambda value: min(value + 1, 255)).save(path, quality=95)
    return photographs


def run(name: str, peer: str, options: str, monkeypatch: pytest.MonkeyPatch, output: Any) -> str:
    """Run a benchmark with its ways in this process, for each new one imports for seconds."""
    benchmark, worker = importlib.import_module(name), importlib.import_module(peer)

    def here(program: Path, *arguments: object) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [str(program), *map(str, arguments)])
            worker.main()
        return json.loads(output.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(benchmark, "answer", here)
    monkeypatch.setattr(benchmark, "machine", lambda: "here")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options.split()])
    benchmark.main()
    told: str = output.readouterr().out
    return told


@pytest.mark.parametrize("photo", [0, 48])
def test_both_ways_of_evaluating_give_the_same_accuracy(
    data: Path,
    tmp_path: Path,
    photo: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = f"""--data {data / "data"} --base {data / "base"} --cache {tmp_path} --images 8
        --size 24 --photo {photo} --batch 6 --workers 0 --threads 1 --rounds 1"""
    output = run("evaluate", "evaluating", options, monkeypatch, capsys)
    rows = re.findall(r"^\| (\w.*?) +\| +([\d.]+) \| +([\d.]+) \| +([\d.]+) \|$", output, re.M)
    assert [row[0] for row in rows] == ["published loop", "ours", "the forward pass alone"]
    assert float(rows[0][3]) == 1
    scores = re.search(r"published ([\d.]+), ours ([\d.]+)", output)
    assert scores is not None
    assert scores[1] == scores[2]
    assert "16 photographs" in output


def test_a_probe_is_as_good_as_a_head_trained_through_the_backbone(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = f"""--data {data / "data"} --base {data / "base"} --cache {tmp_path} --images 30
        --heldout 2 --epochs 2 --lr 0.01 --batch 8 --workers 0 --threads 1 --rounds 1"""
    output = run("probe", "probing", options, monkeypatch, capsys)
    rows = re.findall(r"^\| (\w.*?) +\| +([\d.]+) \| +([\d.]+) \| +([\d.]+) \|$", output, re.M)
    assert [row[0] for row in rows] == ["through the backbone", "ours", "ours, another penalty"]
    accuracy = [float(row[3]) for row in rows]
    assert accuracy[1] >= accuracy[0] - 5
    assert min(accuracy[1:]) > 60
    assert "60 photographs" in output
