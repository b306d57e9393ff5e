"""The benchmark of averaging times the same work for all, and the models are CLIP's."""

import importlib
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from soup import Checkpoint

TINY = (64, 2, 32, 2)


@pytest.fixture
def average() -> Any:
    return importlib.import_module("average")


@pytest.fixture
def averages() -> Any:
    return importlib.import_module("averages")


def test_the_models_have_the_tensors_of_clip_vit_b_32(average: Any) -> None:
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        model = open_clip.CLIP(
            embed_dim=config["embed_dim"],
            vision_cfg=config["vision_cfg"],
            text_cfg=config["text_cfg"],
        )
    shapes = average.clip(768, 12)
    assert shapes == {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 151_277_313


@pytest.mark.parametrize("way", ["ours", "cook", "timm", "published"])
def test_every_way_writes_the_mean(
    average: Any, averages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(sys, "argv", [])  # is put back
    made = [average.write(tmp_path / str(s), average.clip(*TINY), s, 1) for s in range(3)]
    pickled = way == "published"
    out = tmp_path / ("out.pt" if pickled else "out.safetensors")
    averages.WAYS[way]()(out, [pair[pickled] for pair in made])
    found = torch.load(out) if pickled else load_file(out)
    models = [load_file(path) for path, _ in made]
    assert found.keys() == models[0].keys()
    for name in found:
        mean = np.mean([model[name].double().numpy() for model in models], axis=0)
        np.testing.assert_allclose(found[name].numpy(), mean, rtol=1e-6, atol=1e-6)


def test_shards_hold_the_model_that_one_file_holds(average: Any, tmp_path: Path) -> None:
    whole, _ = average.write(tmp_path / "whole", average.clip(*TINY), 3, 1)
    index, _ = average.write(tmp_path / "shards", average.clip(*TINY), 3, 4)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    one, other = Checkpoint(whole), Checkpoint(index)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("limit", ["limit", "limit-digests"])
def test_the_limit_reads_all_and_writes_as_much_as_one_model(
    average: Any,
    averages: Any,
    tmp_path: Path,
    shards: int,
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [average.write(tmp_path / str(s), average.clip(*TINY), s, shards)[0] for s in range(2)]
    files = sorted(tmp_path.glob("*/*.safetensors"))
    opened: list[Path] = []
    alone = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: opened.append(self) or alone(self, *a, **k)
    )
    averages.WAYS[limit]()(tmp_path / "out", paths)
    assert sorted(opened[:-1]) == files
    assert (tmp_path / "out").stat().st_size * 2 == sum(file.stat().st_size for file in files)


def test_a_way_is_timed_and_weighed_in_a_process_of_its_own(average: Any, tmp_path: Path) -> None:
    path, _ = average.write(tmp_path / "model", average.clip(*TINY), 0, 1)
    way = average.Way("limit", [path])
    way.turn(tmp_path / "out")
    assert 0 < way.seconds[0] < 60
    assert way.peak[0] > way.grown[0] >= 0
    wrong = average.Way("limit", [tmp_path / "missing.safetensors"])
    with pytest.raises(SystemExit, match="limit failed"):
        wrong.turn(tmp_path / "out")


def test_memory_is_what_a_process_holds_and_no_other_shares(average: Any) -> None:
    before = average.private(os.getpid())
    # Fresh pages of the system's: an allocator may hand out again what an earlier test gave back.
    with mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block[:] = b"1" * len(block)
        held = average.private(os.getpid()) - before
    assert held == pytest.approx((64 << 20) / 1e6, rel=0.2)
    assert average.private(2**22 + 1) == 0


def test_the_table_sets_ours_beside_each_peer(
    average: Any,
    averages: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def turn(way: Any, out: Path) -> None:
        """In this process, for each new one imports everything for seconds."""
        averages.WAYS[way.name]()(out, way.models)
        way.seconds.append({"limit": 1.0, "ours": 2.0, "timm": 5.0}.get(way.name, 3.0))
        way.peak.append(1.0)
        way.grown.append(0.5)

    monkeypatch.setattr(average.Way, "turn", turn)
    monkeypatch.setattr(average.known_digests, "SETTLED", -1e9)  # seconds that are waited for
    monkeypatch.setattr(
        sys, "argv", ["average", "--tiny", "--rounds", "2", "--folder", str(tmp_path)]
    )
    average.main()
    printed = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in printed.splitlines()
        if line.startswith("|")
    ]
    found = {row[0]: row for row in rows}
    ratio, distance = rows[0].index("best / ours"), len(rows[0]) - 1
    assert found["timm avg_checkpoints"][ratio] == "2.50"
    assert found["limit: read, write, sync"][ratio] == "0.50"
    assert found["timm avg_checkpoints"][distance] == "0.0e+00"
    assert 0 < float(found["published model-soups loop (.pt)"][distance]) < 1e-5
    ratio = f"{average.LABELS['ours']} / {average.LABELS['limit']}: 2.00 of the time"
    assert printed.count(ratio) == 2
    assert "mergekit is left out" in printed
    assert not list(tmp_path.iterdir())
