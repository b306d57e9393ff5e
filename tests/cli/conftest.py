"""Candidates for the command: a few fine-tunes of one tiny model, and pictures to judge them on."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from soup import cli
from soup.cli import terminal
from soup.cli.heldout_folder import open_evaluator
from soup.weights.checkpoint import save
from tests.worlds import COLOURS, draw, put, tiny


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def soup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, as the shell would."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["soup", *map(str, arguments)])
        monkeypatch.setattr(terminal.console, "width", 400)  # no line is broken
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, " ".join(err.split()))

    return run


class Candidates(NamedTuple):
    folder: Path
    heldout: Path
    base: Path
    models: list[Path]


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """Five models around one that has learned the colours, and 90 pictures of three classes."""
    folder = tmp_path_factory.mktemp("candidates")
    draw(folder / "heldout", dict.fromkeys(COLOURS, 30))
    architecture, model = tiny()
    put(folder, (architecture, model))
    from soup.weights.checkpoint import Checkpoint

    exam = open_evaluator(folder / "heldout", None, Checkpoint(folder / "model.safetensors"))
    pixels = exam.examples.prepare(exam.examples.compact(np.arange(len(exam))))
    labels = torch.from_numpy(exam.examples.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(12):
        optimizer.zero_grad()
        functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()
    base = folder / "base.safetensors"
    learned = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(learned, base)
    rng = torch.Generator().manual_seed(0)
    models = []
    for index in range(5):
        noisy = {
            name: tensor
            + 0.15 * tensor.std(correction=0) * torch.randn(tensor.shape, generator=rng)
            for name, tensor in learned.items()
        }
        models.append(folder / f"run{index}.safetensors")
        save(noisy, models[-1], {"lr": f"0.00{index + 1}"})
    return Candidates(folder, folder / "heldout", base, models)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images of tests stay among the tests' files."""
    monkeypatch.setattr("soup.cli.heldout_folder.CACHE", tmp_path_factory.getbasetemp() / "cache")
