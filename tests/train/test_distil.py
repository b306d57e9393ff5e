"""Distillation, beside the same training written out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soup.data.text.examples import TextExamples
from soup.data.text.tokens import Tokens
from soup.train import loop
from soup.train.distil import Lesson, distil, hyperparameters_of
from soup.train.hyperparameters import Hyperparameters
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


def test_settings_of_a_fine_tune_that_distillation_has_are_taken() -> None:
    given = {"lr": 0.1, "epochs": 7, "mixup": 0.4, "clip": "None", "seed": 3, "sam": 0.05}
    chosen = hyperparameters_of(given, seed=9)
    assert (chosen.lr, chosen.epochs, chosen.seed) == (0.1, 7, 9)
    assert (chosen.mixup, chosen.sam, chosen.clip) == (0.0, 0.0, 1.0)


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
