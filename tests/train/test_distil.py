"""Distillation, beside the same training written out."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soup.data.text.examples import TextExamples
from soup.data.text.tokens import Tokens
from soup.errors import BadInput
from soup.tracking.tracked import Tracked
from soup.train import loop
from soup.train.distil import Lesson, distil, hyperparameters_of
from soup.train.hyperparameters import Hyperparameters
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from tests.studies.mlp_pool import INPUTS, Vectors

CHOSEN = Hyperparameters(lr=0.02, weight_decay=0.0, epochs=3, batch_size=8, seed=5, warmup=2)


def student() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(INPUTS, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def lesson(count: int = 21) -> Lesson:
    rng = np.random.default_rng(0)
    inputs = torch.tensor(rng.normal(size=(count, INPUTS)), dtype=torch.float32)
    logits = rng.normal(size=(count, 3)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Lesson(Vectors(inputs, np.zeros(count, np.int64), "x"), probabilities, CHOSEN)


def literal(given: Lesson) -> dict[str, torch.Tensor]:
    model, h = student(), given.hyperparameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=h.lr, weight_decay=0.0)
    schedule = Schedule(h.epochs, 2, h.lr, h.warmup, h.seed)
    step = 0
    for epoch in range(h.epochs):
        order = np.random.default_rng([h.seed, epoch]).permutation(21)
        for first in (0, 8):  # the last 5 are no full batch
            rows = order[first : first + 8]
            chances = torch.tensor(given.probabilities[rows], dtype=torch.float32)
            scores = model(given.examples.compact(rows)).log_softmax(1)
            loss = -(chances * scores).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.param_groups[0]["lr"] = schedule.rate(step)
            optimizer.step()
            step += 1
    return model.state_dict()


def test_the_student_is_that_of_the_written_out_training(tmp_path: Path) -> None:
    model = student()
    done: list[int] = []
    distil(model, lesson(), tmp_path, done.append)
    assert sum(done) == CHOSEN.epochs * 2 * 8  # two full batches an epoch
    for name, tensor in literal(lesson()).items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)
    assert not model.training


def test_an_interrupted_lesson_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = student()
    distil(whole, lesson(), tmp_path / "whole")
    steps = 0
    ordinary = loop.Step.__call__

    def stops(self: loop.Step, *batch: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return ordinary(self, *batch)

    monkeypatch.setattr("soup.train.distil.SAVE_SECONDS", 0)
    monkeypatch.setattr(loop.Step, "__call__", stops)
    cut = student()
    with pytest.raises(KeyboardInterrupt):
        distil(cut, lesson(), tmp_path / "cut")
    again = student()
    distil(again, lesson(), tmp_path / "cut")
    assert steps == 4 + 3  # three of six were done and kept
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


# None of them is a default.
EVERY = Hyperparameters(
    lr=0.1,
    weight_decay=0.3,
    epochs=7,
    label_smoothing=0.1,
    mixup=0.4,
    cutmix=0.5,
    augment="strong",
    layer_decay=0.5,
    drop_path=0.2,
    sam=0.05,
    seed=3,
    optimizer="sgd",
    batch_size=6,
    accumulate=2,
    warmup=3.0,
    decay="linear",
    clip=None,
    precision="bfloat16",
    compile=True,
    grad_checkpointing=True,
    frozen_batchnorm=True,
    ema=(0.5,),
    swa_start=0.5,
    swa_lr=0.25,
    crop=0.5,
    flip=0.25,
)
DATA = ("label_smoothing", "mixup", "cutmix", "augment", "crop", "flip")
OTHERS = ("drop_path", "compile", "grad_checkpointing", "ema", "swa_start", "swa_lr", "seed")


@pytest.mark.parametrize("form", [lambda value: value, str], ids=["values", "texts of MLflow"])
def test_every_setting_of_a_fine_tune_that_distillation_has_is_taken(form: Any) -> None:
    values = EVERY.readable()
    plain = Hyperparameters(lr=1, weight_decay=0, epochs=1)
    assert not [name for name, value in asdict(plain).items() if value == getattr(EVERY, name)]
    texts = {name: str(value) for name, value in values.items()}
    run = Tracked("id", "run", "FINISHED", "", {}, texts, {})
    chosen = hyperparameters_of(values if form is not str else run.settings, seed=9)
    left_out = {name: getattr(plain, name) for name in (*DATA, *OTHERS)}
    assert chosen == replace(EVERY, **left_out | {"seed": 9})


def test_a_setting_that_is_off_or_not_known_is_taken_as_such() -> None:
    texts = {"lr": 0.1, "epochs": 7, "frozen_batchnorm": "False", "weight_decay": "None"}
    chosen = hyperparameters_of(texts, seed=9)
    assert chosen == Hyperparameters(lr=0.1, weight_decay=0.0, epochs=7, seed=9)
    with pytest.raises(BadInput, match=r"of the fine-tune: precision: 'int8'"):
        hyperparameters_of(texts | {"precision": "int8"}, seed=9)


def test_a_student_is_trained_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("soup.train.distil.fit", lambda *rest, **_: given.extend(rest))
    distil(student(), replace(lesson(), hyperparameters=EVERY), tmp_path)
    _, _, _, schedule, method = given
    assert method == StepConfig("sgd", 0.3, 0.5, None, 2, 0.05, "bfloat16", True)
    assert schedule == Schedule(7, 3, 0.1, 3.0, 3, decay="linear")


def test_long_texts_are_taught_their_own_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in smaller batches, by the number of tokens; each text has its row as its token."""
    rows = np.arange(40)
    lengths = np.full(40, 100)
    tokens = np.stack([rows.repeat(100), np.ones(4000)], axis=1).astype(np.int32)
    texts = TextExamples(np.zeros(40, np.int64), "", 0, lambda: Tokens(tokens, lengths, lengths))
    seen = []

    def watched(student: nn.Module, batches: Any, *rest: Any, **more: Any) -> None:
        for inputs, targets in batches(0, 0):
            assert inputs[:, 0, 0].tolist() == targets[:, 0].tolist()
            seen.extend(inputs[:, 0, 0].tolist())

    monkeypatch.setattr("soup.train.distil.fit", watched)
    distil(student(), Lesson(texts, np.stack([rows] * 3, axis=1), CHOSEN), tmp_path)
    assert sorted(seen) == [*rows]
