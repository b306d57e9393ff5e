"""One fine-tune, from images on disk to an ingredient on disk."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soup.data.loading.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Manifest
from soup.evaluation import prediction_file
from soup.evaluation.predict import predict
from soup.models import ModelError, open_model
from soup.models.batchnorm import recalibrate, spread_evenly
from soup.models.transforms import image_input
from soup.train.finetune import FINAL_WEIGHTS, Job, Result, finetune, finished, ingredients_of
from soup.train.hyperparameters import Hyperparameters
from soup.train.loop import Log
from soup.weights.checkpoint import Checkpoint
from tests.worlds import draw, job, put, silent, tiny, world


def plain(job: Job, log: Log) -> Result:
    """The one result of a fine-tune without averages."""
    results = finetune(job, log)
    assert isinstance(results, dict)
    return results[FINAL_WEIGHTS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world(tmp_path, test=1)
    return tmp_path


def test_it_learns_and_leaves_an_ingredient_that_scores_as_it_says(root: Path) -> None:
    given, logged = job(root, {"crop": 1.0, "batch_size": 4}, epochs=20, lr=1e-2), []
    result = plain(given, lambda *entry: logged.append(entry))
    assert result.score >= 8 / 9
    assert (result.examples, result.folder) == (9, given.folder / "ingredient")
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"config.json", "model.json", "model.safetensors", "heldout.npz"}
    written = json.loads((given.folder / "result.json").read_text())
    assert written == {"": {"errors": result.errors, "examples": 9, "measure": "accuracy"}}

    notes = Checkpoint(result.weights).metadata
    assert notes["base"] == Checkpoint(given.start / "model.safetensors").digest()
    assert float(notes["lr"]) == 1e-2

    architecture, model = open_model(result.folder)
    assert architecture == open_model(given.start)[0]
    rows, store = Manifest.load(given.development).split("heldout"), ImageStore(root, root / "o", 8)
    images = examples(store, rows, architecture.classes, image_input(architecture))
    logits = predict(model, images)
    kept = prediction_file.read(result.predictions)
    np.testing.assert_allclose(kept.astype(float), logits, rtol=1e-2, atol=1e-3)
    right = logits.argmax(axis=1) == images.labels
    assert prediction_file.read(result.predictions, "correct").tolist() == right.tolist()
    assert result.errors == (~right).sum()

    steps = {name: [s for s, metrics in logged if name in metrics] for _, m in logged for name in m}
    assert steps["heldout/accuracy"] == [24, 48, 72, 96]  # five in all, with that of the end
    assert steps["train/loss"] == list(range(10, 121, 10))


class Interrupted(Exception):
    pass


def stopping(*stops: int) -> Any:
    def log(step: int, metrics: dict[str, float]) -> None:
        if step in stops:
            raise Interrupted

    return log


USUAL: dict[str, Any] = {}
EVERYTHING = {
    "augment": "rand-m6-n2",
    "mixup": 0.3,
    "cutmix": 0.5,
    "sam": 0.05,
    "label_smoothing": 0.1,
}


@pytest.mark.parametrize(
    ("hyperparameters", "kwargs"),
    [
        (USUAL, {}),
        (EVERYTHING, {"drop_rate": 0.3, "drop_path_rate": 0.2, "norm_layer": "batchnorm2d"}),
    ],
)
def test_an_interrupted_fine_tune_ends_bit_for_bit_like_one_run_through(
    root: Path, hyperparameters: dict[str, Any], kwargs: dict[str, Any]
) -> None:
    put(root / "start", tiny(**kwargs))
    # 13 steps an epoch, logged every ten: it stops twice, each time amid an epoch.
    given = job(root, {"batch_size": 2, "checkpoint_seconds": 0.0}, **hyperparameters)
    through = plain(replace(given, folder=root / "through"), silent)
    for stop in (10, 20):
        with pytest.raises(Interrupted):
            finetune(given, stopping(stop))
        assert not (given.folder / "ingredient").exists()
    seen: list[int] = []
    result = plain(given, lambda step, _: seen.append(step))
    assert seen == [20, 26]
    assert result.weights.read_bytes() == through.weights.read_bytes()
    assert result.predictions.read_bytes() == through.predictions.read_bytes()
    start = Checkpoint(root / "start" / "model.safetensors")
    assert any(not torch.equal(start[n], t) for n, t in Checkpoint(result.weights).items())


def test_the_seed_and_nothing_else_tells_two_runs_apart(root: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        given = job(root, {"folder": root / name}, seed=seed, epochs=1)
        return plain(given, silent).weights.read_bytes()

    first = weights("a", 1)
    torch.rand(5)
    assert weights("b", 1) == first
    assert weights("c", 2) != first


def test_images_read_from_files_train_like_decoded_ones(root: Path) -> None:
    small = job(root, {"folder": root / "files", "cache_gib": 1e-9}, epochs=1)
    large = job(root, {"folder": root / "cached"}, epochs=1)
    first, second = plain(small, silent), plain(large, silent)
    assert first.weights.read_bytes() == second.weights.read_bytes()


def test_images_of_several_sizes_train_alike_from_memory_and_from_files(root: Path) -> None:
    draw(root / "train", {"red": 8}, size=(31, 22), first=100, suffix="jpg")
    options = {"crop": 0.5}
    files = job(root, {**options, "folder": root / "files", "cache_gib": 1e-9}, epochs=1)
    held = job(root, {**options, "folder": root / "held"}, epochs=1)
    first, second = plain(files, silent), plain(held, silent)
    assert first.weights.read_bytes() == second.weights.read_bytes()


def test_a_start_that_is_missing_is_named(root: Path) -> None:
    given = job(root, {})
    shutil.rmtree(given.start)
    with pytest.raises(ModelError, match=r"start/model.json does not describe a model"):
        finetune(given, silent)


def test_averages_are_ingredients_of_their_own_and_survive_an_interruption(root: Path) -> None:
    options = {"batch_size": 2, "checkpoint_seconds": 0.0, "ema": (0.5, 0.9), "swa_start": 0.4}
    given = job(root, options, epochs=3)
    through = finetune(replace(given, folder=root / "through"), silent)
    with pytest.raises(Interrupted):
        finetune(given, stopping(20))
    results = finetune(given, silent)
    assert isinstance(results, dict)
    assert isinstance(through, dict)
    assert [*results] == ingredients_of(given.hyperparameters) == ["", "ema-0.5", "ema-0.9", "swa"]
    assert finished(given) == results
    for name, result in results.items():
        assert result.weights.read_bytes() == through[name].weights.read_bytes()
        assert Checkpoint(result.weights).metadata["lr"] == "0.005"
    assert len({result.weights.read_bytes() for result in results.values()}) == 4


def test_averages_of_batchnorm_have_the_statistics_of_their_own_activations(root: Path) -> None:
    put(root / "start", tiny(norm_layer="batchnorm"))
    given = job(root, {"batch_size": 4, "ema": (0.9,), "swa_start": 0.4}, epochs=3)
    results = finetune(given, silent)
    assert isinstance(results, dict)
    rows = Manifest.load(given.development).split("train")
    chosen = [rows[index] for index in spread_evenly(len(rows), 256)]
    for name, result in results.items():
        architecture, model = open_model(result.folder)
        inputs = image_input(architecture)
        images = examples(given.images, chosen, architecture.classes, inputs)
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        pixels = inputs.prepare(images.compact(np.arange(len(chosen))))
        same = [
            torch.allclose(tensor, before[key], rtol=1e-4, atol=1e-5)
            for key, tensor in recalibrate(model, [pixels]).items()
        ]
        assert all(same) == (name != FINAL_WEIGHTS)


def test_it_pauses_at_a_share_of_the_run_with_its_score(root: Path) -> None:
    given = job(root, {"batch_size": 2})
    through = plain(replace(given, folder=root / "through"), silent)
    paused = finetune(replace(given, until=0.4), silent)
    assert isinstance(paused, float)
    assert finished(given) is None
    assert Checkpoint(given.folder / "state.safetensors").metadata["step"] == "10"
    seen: list[int] = []
    result = plain(given, lambda step, _: seen.append(step))
    assert seen == [13, 20, 26]
    assert result.weights.read_bytes() == through.weights.read_bytes()


@pytest.mark.parametrize(
    ("options", "hyperparameters"),
    [
        ({"precision": "bfloat16"}, {}),
        ({"optimizer": "lion", "accumulate": 3}, {}),
        ({"clip": None}, {"layer_decay": 0.7}),
        ({}, {"drop_path": 0.3}),
        ({}, {"augment": "medium"}),
        ({}, {"augment": "strong"}),
    ],
)
def test_every_option_changes_what_is_trained(
    root: Path, options: dict[str, Any], hyperparameters: dict[str, Any]
) -> None:
    usual = plain(job(root, {"folder": root / "usual"}, epochs=1), silent)
    other = plain(
        job(root, {"folder": root / "other", **options}, epochs=1, **hyperparameters), silent
    )
    assert usual.weights.read_bytes() != other.weights.read_bytes()
    assert other.weights.stat().st_size == usual.weights.stat().st_size


def test_gradient_checkpointing_changes_memory_and_not_the_result(root: Path) -> None:
    usual = plain(job(root, {"folder": root / "usual"}, epochs=1), silent)
    other = plain(
        job(root, {"folder": root / "other", "grad_checkpointing": True}, epochs=1), silent
    )
    one, two = Checkpoint(usual.weights), Checkpoint(other.weights)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)


def test_frozen_batchnorm_keeps_the_statistics_of_the_start(root: Path) -> None:
    put(root / "start", tiny(norm_layer="batchnorm"))
    start = Checkpoint(root / "start" / "model.safetensors")
    statistics = [name for name in start if "running" in name or "num_batches" in name]
    assert statistics
    weights = {}
    for frozen in (True, False):
        options = {"frozen_batchnorm": frozen, "ema": (0.5,), "folder": root / str(frozen)}
        results = finetune(job(root, options), silent)
        assert isinstance(results, dict)
        for name, result in results.items():
            weights[frozen, name] = Checkpoint(result.weights)
    for name in ("", "ema-0.5"):
        for statistic in statistics:
            assert torch.equal(weights[True, name][statistic], start[statistic])
        moved = [s for s in statistics if not torch.equal(weights[False, name][s], start[s])]
        assert moved == statistics
        trained = [n for n in start if not torch.equal(weights[True, name][n], start[n])]
        assert {n for n in start if n.endswith(("weight", "bias"))} == {*trained}


def test_a_digest_has_frozen_batchnorm_only_where_it_is_set() -> None:
    plain = Hyperparameters(lr=1e-3, weight_decay=0.0, epochs=1)
    frozen = replace(plain, frozen_batchnorm=True)
    assert "frozen_batchnorm" not in plain.as_dict()
    for each in (plain, frozen):
        assert Hyperparameters.from_dict(each.as_dict()) == each
    assert frozen.as_dict()["frozen_batchnorm"]


def test_the_scores_on_the_way_are_of_some_held_out_examples_and_the_last_is_of_all(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def curve(folder: str) -> tuple[Result, list[float]]:
        logged: list[float] = []

        def log(_step: int, metrics: dict[str, float]) -> None:
            logged.extend(v for name, v in metrics.items() if name == "heldout/accuracy")

        given = job(root, {"batch_size": 4, "folder": root / folder}, epochs=5, lr=1e-2)
        return plain(given, log), logged

    through, everything = curve("all")
    monkeypatch.setattr("soup.train.finetune.CURVE_EXAMPLES", 4)
    result, few = curve("some")
    assert len(few) == len(everything) == 4
    assert all(4 * value == round(4 * value) for value in few)  # nine are held out
    assert (result.examples, result.errors) == (9, through.errors)
    assert result.weights.read_bytes() == through.weights.read_bytes()
