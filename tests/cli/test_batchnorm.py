"""Models with BatchNorm: the statistics of averages are recomputed, and blamed where they err."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from soup.cli.heldout_folder import open_evaluator
from soup.cli.options import CALIBRATION_IMAGES
from soup.config.cooking import Cook
from soup.evaluation.metrics import correct
from soup.models.batchnorm import IMAGES, recalibrate
from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Command
from tests.worlds import COLOURS, draw, put, tiny


class Pair(NamedTuple):
    heldout: Path
    train: Path
    good: Path
    mirror: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A model that knows the colours, and one whose first layer is the other's times -0.5.

    Their mean is the good model in other units, but the averaged variance is ten times too large.
    """
    folder = tmp_path_factory.mktemp("batchnorm")
    draw(folder / "heldout", dict.fromkeys(COLOURS, 20))
    draw(folder / "train", dict.fromkeys(COLOURS, 25), first=300)
    architecture, model = tiny(norm_layer="batchnorm")
    put(folder, (architecture, model))
    examples = open_evaluator(
        folder / "train", None, Checkpoint(folder / "model.safetensors")
    ).examples
    pixels = examples.prepare(examples.compact(np.arange(len(examples))))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(20):
        optimizer.zero_grad()
        functional.cross_entropy(model(pixels), torch.from_numpy(examples.labels)).backward()
        optimizer.step()
    files = folder / "good.safetensors", folder / "mirror.safetensors"
    note = {"architecture": architecture.text()}
    save(recalibrate(model, [pixels]), files[0], note)
    model.get_parameter("conv1.0.weight").data *= -0.5
    save(recalibrate(model, [pixels]), files[1], note)
    return Pair(folder / "heldout", folder / "train", *files)


def accuracy(file: Path, heldout: Path) -> float:
    """With the statistics in the file."""
    evaluator = open_evaluator(heldout, None, Checkpoint(file))
    return float(correct(evaluator.logits(Checkpoint(file)), evaluator.examples.labels).mean())


def test_greedy_rejects_what_helps_until_statistics_are_recomputed(
    soup: Command, pair: Pair, tmp_path: Path
) -> None:
    out = tmp_path / "soup.safetensors"
    given = ["cook", "--heldout", pair.heldout, "-o", out, "--json", pair.good, pair.mirror]
    averaged = soup(*given)
    assert averaged.code == 0, averaged.err
    assert json.loads(averaged.out)["kept"] == ["good"]
    assert "warning: the models have BatchNorm, whose statistics are averaged" in averaged.err
    said = soup(*given, "--recalibrate", pair.train, "--calibration-images", 40)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["kept"] == ["good", "mirror"]
    assert report["soup"]["accuracy"] == accuracy(out, pair.heldout) == 1
    assert report["batchnorm"]["averaged"] < report["batchnorm"]["recomputed"] == 1
    assert "BatchNorm statistics recomputed 2 times on 40 training images: " in said.err
    assert Checkpoint(out).metadata["batchnorm"] == "recomputed on 40 images"


def test_single_models_are_scored_with_the_statistics_of_their_training(
    soup: Command, pair: Pair, tmp_path: Path
) -> None:
    given = ["cook", "--heldout", pair.heldout, "-o", tmp_path / "soup.safetensors", "--json"]
    given += ["--metric", "loss", pair.good, pair.mirror]
    costs = [
        json.loads(soup(*given, *more).out)["trace"][0]["errors"]
        for more in ([], ["--recalibrate", pair.train, "--calibration-images", 10])
    ]
    assert costs[0] == costs[1]


def test_on_several_devices_it_is_the_same(soup: Command, pair: Pair, tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.safetensors" for n in (1, 2)]
    for file, devices in zip(files, ("cpu", "cpu,cpu"), strict=True):
        said = soup(
            "cook", "--heldout", pair.heldout, "--recalibrate", pair.train, "-o", file,
            "--device", devices, pair.good, pair.mirror,
        )  # fmt: skip
        assert said.code == 0, said.err
    assert files[0].read_bytes() == files[1].read_bytes()


def test_statistics_that_were_frozen_are_kept_and_it_is_said(
    soup: Command, pair: Pair, tmp_path: Path
) -> None:
    frozen = tmp_path / "frozen.safetensors"
    weights = dict(Checkpoint(pair.good))
    weights["fc.bias"] = weights["fc.bias"] + 0.01
    save(weights, frozen, dict(Checkpoint(pair.good).metadata))
    given = ["cook", "--heldout", pair.heldout, "-o", tmp_path / "out.safetensors"]
    said = soup(*given, "--recalibrate", pair.train, pair.good, frozen)
    assert said.code == 0, said.err
    assert "the BatchNorm statistics are the same in all models: they are kept" in said.err
    assert "whose statistics are averaged" not in soup(*given, pair.good, frozen).err


@pytest.mark.parametrize("trained_on", [True, False])
def test_explain_calls_it_batchnorm_and_no_barrier(
    soup: Command, pair: Pair, trained_on: bool
) -> None:
    given = ["--recalibrate", pair.train] if trained_on else []
    said = soup("explain", "--heldout", pair.heldout, "--json", *given, pair.good, pair.mirror)
    assert said.code == 0, said.err
    found = {finding["kind"]: finding for finding in json.loads(said.out)}
    assert "barrier" not in found
    evidence = found["batchnorm"]["evidence"]["mirror"]
    assert evidence["averaged"] < 0.7
    assert evidence["recomputed"] == 1
    assert f"{100 * evidence['averaged']:.1f}% with averaged" in found["batchnorm"]["summary"]
    assert "--recalibrate FOLDER" in found["batchnorm"]["remedy"]


def test_without_images_explain_and_inspect_name_batchnorm(soup: Command, pair: Pair) -> None:
    for verb in ("explain", "inspect"):
        said = soup(verb, pair.good, pair.mirror)
        assert "BatchNorm layers keep running statistics that differ" in said.err
        assert "soup cook --recalibrate FOLDER" in said.err


def test_inspect_walks_with_both_statistics(soup: Command, pair: Pair) -> None:
    said = soup("inspect", "--heldout", pair.heldout, pair.good, pair.mirror)
    assert " with recomputed BatchNorm statistics, " in said.err
    lines = json.loads(
        soup("inspect", "--heldout", pair.heldout, "--json", pair.good, pair.mirror).out
    )
    (recomputed,), (averaged,) = lines["lines"].values(), lines["lines_averaged"].values()
    assert recomputed[4] == 0 < averaged[4]


def test_all_doors_use_as_many_images_by_default() -> None:
    assert IMAGES == CALIBRATION_IMAGES == Cook().recalibrate
