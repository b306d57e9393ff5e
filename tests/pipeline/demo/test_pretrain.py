"""The embedded demo's pretraining, at a size that takes a second."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from soup.config.data import Data, ShapesWorld
from soup.config.params import Base, Pretrain
from soup.data.progress import Advance, Track, no_progress
from soup.models import ModelError, timm_models
from soup.pipeline.demo import pretrain, shapes

WORLD = ShapesWorld(seed=4, train=40, test=20, shift=20, upstream=128)
TINY = {"channels": [8, 8, 8, 8], "stem_width": 8, "norm_layer": "groupnorm1"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "REFERENCE_IMAGES", 128)
    monkeypatch.setattr(pretrain, "REFERENCE", Pretrain(epochs=1, batch_size=64, seed=9))


def test_the_zero_shot_head_of_a_class_is_the_sum_of_its_words() -> None:
    model = timm_models.create("resnet10t", TINY, pretrain.COLOUR.stop)
    factors = timm_models.head(model).weight.detach().clone()
    pretrain.zero_shot(model)
    made = timm_models.head(model).weight
    for row, name in enumerate(sorted(shapes.CLASSES)):
        shape, texture = name.split("-")
        own = factors[shapes.SHAPES.index(shape)]
        its = factors[len(shapes.SHAPES) + shapes.TEXTURES.index(texture)]
        torch.testing.assert_close(made[row], own + its)


def test_the_image_set_is_drawn_once_and_again_when_the_world_changes(tmp_path: Path) -> None:
    root = tmp_path / "shapes"
    pretrain.draw(WORLD, root)
    assert len(list((root / "train").rglob("*.png"))) == 40
    assert {p.name for p in root.iterdir() if p.is_dir()} == {
        *("train", "test", "v2", "sketch", "r", "objectnet", "a"),
    }
    first = (root / "train").stat().st_mtime_ns
    told: list[str] = []
    pretrain.draw(WORLD, root, report=told.append)
    assert not told
    assert (root / "train").stat().st_mtime_ns == first
    pretrain.draw(WORLD.model_copy(update={"seed": 5}), root, report=told.append)
    assert told
    pretrain.draw(WORLD.model_copy(update={"seed": 5, "upstream": 7}), root, report=told.clear)


def test_only_the_shifts_that_are_asked_for_are_drawn_and_the_reference_only_for_a(
    tmp_path: Path,
) -> None:
    root, told = tmp_path / "shapes", list[str]()
    pretrain.draw(WORLD, root, {"sketch"}, told.append)
    assert {p.name for p in root.iterdir() if p.is_dir()} == {"train", "test", "sketch"}
    assert told == ["drawing the images"]
    pretrain.draw(WORLD, root, {"sketch", "a"}, told.append)
    assert (root / "a").is_dir()
    assert told[1].startswith("pretraining the reference")


def pretrained(seed: int, kwargs: dict[str, Any] = TINY) -> torch.Tensor:
    base = Base(
        model="resnet10t",
        kwargs=kwargs,
        weights="embedded",
        head="zeroshot",
        pretrain=Pretrain(epochs=1, seed=seed),
    )
    data = Data(root="x", shapes=WORLD)
    architecture, model = pretrain.pretrained(base, data, tuple(sorted(shapes.CLASSES)))
    assert architecture.classes == tuple(sorted(shapes.CLASSES))
    return torch.cat([p.flatten() for p in model.parameters()])


def test_the_base_is_a_function_of_its_seeds() -> None:
    assert torch.equal(pretrained(1), pretrained(1))
    assert not torch.equal(pretrained(1), pretrained(2))


def test_the_base_is_the_same_however_many_cores_there_are() -> None:
    had = torch.get_num_threads()
    made = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        made.append(pretrained(1, pretrain.KWARGS))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(had)
    assert torch.equal(*made)


def test_embedded_weights_want_the_embedded_images() -> None:
    base = Base(model="resnet10t", kwargs=TINY, weights="embedded", pretrain=Pretrain(epochs=1))
    with pytest.raises(ModelError, match=r"goes with data\.shapes"):
        pretrain.pretrained(base, Data(root="x"), ("cat", "dog"))


BASE = Base(model="resnet10t", kwargs=TINY, weights="embedded", pretrain=Pretrain(epochs=1))
DATA = Data(root="data", shapes=WORLD)
CLASSES = tuple(sorted(shapes.CLASSES))


def weights(track: Track = no_progress) -> torch.Tensor:
    _, model = pretrain.pretrained(BASE, DATA, CLASSES, track)
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> BaseProcess:
    """One that pretrains the base."""
    monkeypatch.setattr(pretrain, "cores", lambda: 2)
    pretrain.begin(BASE, DATA)
    pretrain.begin(BASE, DATA)
    (found,) = multiprocessing.active_children()
    return found


def test_a_base_that_was_begun_in_another_process_is_that_of_this_one(
    process: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[Any]()

    @contextmanager
    def track(what: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
        told.append((what, total, unit))
        yield told.append

    with monkeypatch.context() as here:
        here.setattr(pretrain, "_train", pytest.fail)
        sent = weights(track)
    process.join()
    sent_progress = [*told]
    told.clear()
    assert torch.equal(sent, weights(track))
    assert sent_progress == told
    assert ("pretraining", 128, "images") in told


def test_a_base_is_pretrained_here_where_the_other_process_was_killed(
    process: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.kill()
    here = list[int]()
    trained = pretrain._train
    monkeypatch.setattr(pretrain, "_train", lambda *args: here.append(1) or trained(*args))
    assert len(weights()) > 0
    assert here


def test_nothing_is_begun_where_there_is_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "cores", lambda: 1)
    pretrain.begin(BASE, DATA)
    assert not multiprocessing.active_children()
