"""The benchmark of learned soups runs, and both ways of learning take the same steps."""

import importlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KWARGS = {"channels": [8, 8, 8, 8], "norm_layer": "groupnorm1", "stem_width": 4}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Photographs of dark and light noise, and an untrained base."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(24):
                pixels = rng.integers(60 * label, 190 + 60 * label, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{index:02}.jpg")
    torch.manual_seed(0)
    (tmp_path / "base").mkdir()
    model = timm.create_model("resnet10t", num_classes=3, **KWARGS)
    save_file(model.state_dict(), tmp_path / "base" / "model.safetensors")
    described = {"name": "resnet10t", "kwargs": KWARGS, "input_size": [3, 32, 32]}
    described |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (tmp_path / "base" / "model.json").write_text(json.dumps(described))
    return tmp_path


def test_both_ways_learn_the_same_shares_and_all_soups_are_scored(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark, peer = importlib.import_module("learned"), importlib.import_module("learning")
    alone = benchmark.turn

    def turn(way: str, cache: Path, *numbers: int) -> pd.Series:
        """In this process but for one, for each new one imports everything for seconds."""
        if way == "limited":
            return alone(way, cache, *numbers)
        work = peer.Work(cache, *numbers)
        peer.prepared(way, work)(cache / f"soup-{way}-{numbers[0]}.safetensors")
        return pd.Series({"way": way, **asdict(work), "memory": 0.0})

    monkeypatch.setattr(benchmark, "turn", turn)
    options = f"""--data {world / "data"} --base {world / "base"} --cache {world / "cache"}
        --models 3 --heldout 8 --steps 2 --batch 6 --epochs 2 --workers 1 --rounds 1
        --figure {world / "figure.png"}"""
    monkeypatch.setattr(sys, "argv", ["learned.py", *options.split()])
    benchmark.main()
    output = capsys.readouterr().out
    rows = re.findall(r"^\| +3 \| (?:published|ours).*\| +(\S+) +\|$", output, re.MULTILINE)
    assert len(rows) == 4
    assert max(float(difference) for difference in rows[:3]) < 1e-3
    scores = re.findall(r"\| +([\d.]+) \| +([\d.]+) \|$", output, re.MULTILINE)
    assert len(scores) == 7
    assert all(0 < float(score) <= 100 for pair in scores for score in pair)
    assert (world / "figure.png").stat().st_size > 1000
    table = output.partition("seconds to the held-out accuracy of the published loop")[2]
    assert [line.split("|")[2].strip() for line in table.splitlines() if "mehl" in line] == [
        "epoch 0", "epoch 1", "epoch 0", "epoch 1",
    ]  # fmt: skip
    sooner = [line.split("|")[2].strip() for line in table.splitlines() if "rate 0.4" in line]
    assert sooner == ["0 steps", "2 steps", "4 steps"] * 2
    work = peer.Work(world / "cache", 3, 6, 2, 1)
    out = world / "cache" / "soup-small-3.safetensors"
    peer.prepared("small", work)(out)
    assert work.steps == 1
    assert work.reached == sorted(work.reached)
    files = [out.with_suffix(f".{number}.safetensors") for number in (1, 2)]
    assert len(work.reached) == len(files)
    assert all(file.exists() for file in [out, *files])
