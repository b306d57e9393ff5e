"""The benchmark of greedy soups: the transcription decides what ours decides, on the same files."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from soup import Checkpoint
from soup.models import Architecture, build


@pytest.fixture
def greedy() -> Any:
    return importlib.import_module("greedy")


@pytest.fixture
def peer() -> Any:
    return importlib.import_module("published_greedy")


@pytest.fixture(scope="module")
def cooked(photographs: Path) -> tuple[list[Path], Path]:
    """A short fine-tune with noise, which averaging takes away; two models of each noise, so that
    there are ties in the ranking. The files, and their folder.
    """
    cache = photographs / "cache"
    make = importlib.import_module("finetunes").make
    make(photographs / "data", photographs / "base", cache, 1, 20, 4)
    start = load_file(cache / "start.safetensors")
    paths = [cache / f"model_{index:02}.safetensors" for index in range(8)]
    for index, path in enumerate(paths):
        torch.manual_seed(index // 2)
        noisy = {n: t + 0.3 * t.abs().mean() * torch.randn_like(t) for n, t in start.items()}
        save_file(noisy, path)
        torch.save(noisy, path.with_suffix(".pt"))
    return paths, cache


def test_all_ways_keep_the_same_and_early_rejection_changes_no_byte(
    cooked: tuple[list[Path], Path],
    greedy: Any,
    peer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths, cache = cooked

    def published(cache: Path, count: int, batch: int, workers: int) -> Any:
        """In this process, for a new one imports everything for seconds."""
        monkeypatch.setattr("sys.argv", ["peer", str(cache), *map(str, (count, batch, workers))])
        peer.main()
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(greedy, "published", published)
    row = greedy.compare(paths, cache, batch=7, workers=0, rounds=1)
    assert row["same kept as published"]
    assert row["same bytes as full"]
    full = greedy.ours(paths, cache, 7, early=False)
    early = greedy.ours(paths, cache, 7, early=True)
    assert len(early["kept"]) > 1
    assert early["looked at"] < full["looked at"] == 1
    assert row["passes saved"] == f"{1 - early['looked at']:.0%}"
    assert row["errors"] == published(cache, 8, 7, 0)["errors"]


def test_the_transcription_keeps_what_the_published_rule_keeps(
    peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear model of one number, whose accuracy is looked up."""
    for name, value in {"a": 1.0, "b": 3.0, "c": 5.0, "d": 2.0, "e": 0.0}.items():
        torch.save({"weight": torch.tensor([[value]])}, tmp_path / f"{name}.pt")
    accuracies = {1.5: 0.8, 3.5: 0.9, 3.3333: 0.95, 2.5: 0.1}
    seen: list[float] = []

    def accuracy(model: torch.nn.Linear, _: object) -> float:
        seen.append(round(model.weight.item(), 4))
        return accuracies[seen[-1]]

    monkeypatch.setattr(peer, "accuracy", accuracy)
    # Equal scores come in reverse, d before a; and the mean of 2 and 1 is not strictly better.
    ranks = {"e": 0.1, "b": 0.2, "c": 0.3, "a": 0.8, "d": 0.8}
    model = torch.nn.Linear(1, 1, bias=False)
    assert peer.greedy(model, None, tmp_path, ranks) == (["d", "c", "b"], 0.95)
    assert seen == list(accuracies)


def test_the_transcription_decodes_what_ours_sees(
    cooked: tuple[list[Path], Path], greedy: Any, peer: Any
) -> None:
    _, cache = cooked
    described = json.loads((cache / "model.json").read_text())
    batch = next(iter(peer.loader(cache / "heldout", described, 100, 0)))
    architecture = Architecture.load(cache / "model.json")
    weights = Checkpoint(cache / "model_00.safetensors")
    images = greedy.decoded_anew(cache / "heldout", weights, 100).examples.images
    assert images.pixels is not None
    assert len(batch["labels"]) == len(images) == 40
    place = {str(path): index for index, path in enumerate(images.paths)}
    order = [place[path] for path in batch["image_paths"]]
    assert batch["labels"].tolist() == images.labels[order].tolist()
    pixels = torch.from_numpy(images.pixels[order].copy()).permute(0, 3, 1, 2)
    mean, std = torch.tensor(architecture.mean), torch.tensor(architecture.std)
    expected = (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(batch["images"], expected)


def test_accuracy_is_the_share_of_right_answers(
    cooked: tuple[list[Path], Path], greedy: Any, peer: Any
) -> None:
    _, cache = cooked
    described = json.loads((cache / "model.json").read_text())
    model = build(Architecture.load(cache / "model.json"))
    batches = peer.loader(cache / "heldout", described, 9, 0)
    with torch.no_grad():
        right = [
            int(answer == label)
            for batch in batches
            for answer, label in zip(
                model(batch["images"]).argmax(1).tolist(), batch["labels"].tolist(), strict=True
            )
        ]
    assert peer.accuracy(model, batches) == sum(right) / 40
