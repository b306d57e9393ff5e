"""The linear probe: the optimum of its formula, on features of images seen as at evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soup.checkpoint import Checkpoint
from soup.models import open_model, vision
from soup.params import Probe
from soup.train.loop import Diverged
from soup.train.probe import fit_head, probe
from tests.worlds import COLOURS, draw, job, put, tiny


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(seed)
    inputs = torch.randn(120, 10) * 2
    labels = (inputs @ torch.randn(10, 4) + 2 * torch.randn(120, 4)).argmax(dim=1)
    return inputs, labels, nn.Linear(10, 4)


def gradient(
    inputs: torch.Tensor, labels: torch.Tensor, head: nn.Linear, start: nn.Linear, penalty: float
) -> np.ndarray:
    """Of mean cross-entropy + penalty * (|W - W_0|^2 + |b - b_0|^2), by hand in float64."""
    x = np.c_[inputs.double().numpy(), np.ones(len(inputs))]
    w, w0 = (
        np.c_[h.weight.detach().double().numpy(), h.bias.detach().double().numpy()]
        for h in (head, start)
    )
    scores = x @ w.T
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p - np.eye(4)[labels]).T @ x / len(x) + 2 * penalty * (w - w0)


@pytest.mark.parametrize("penalty", [0.3, 1e-2, 1e-3])
def test_the_gradient_vanishes_where_it_ends(penalty: float) -> None:
    inputs, labels, head = problem()
    start = nn.Linear(10, 4)
    start.load_state_dict(head.state_dict())
    before = np.linalg.norm(gradient(inputs, labels, head, start, penalty))
    loss = fit_head(inputs, labels, head, penalty, 200)
    after = np.linalg.norm(gradient(inputs, labels, head, start, penalty))
    assert before > 0.1
    assert after < 1e-4
    with torch.no_grad():
        away = sum(
            ((a - b) ** 2).sum() for a, b in zip(head.parameters(), start.parameters(), strict=True)
        )
        value = nn.functional.cross_entropy(head(inputs), labels) + penalty * away
    assert loss == pytest.approx(float(value), abs=1e-6)


def test_the_penalty_pulls_to_the_start() -> None:
    distances = []
    for penalty in (0.0, 1e-3, 1e-1, 1e3):
        inputs, labels, head = problem()
        start = head.weight.detach().clone()
        fit_head(inputs, labels, head, penalty, 200)
        distances.append(float((head.weight.detach() - start).norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.5
    assert distances[3] < 1e-2


def test_features_that_are_no_numbers_are_an_error() -> None:
    inputs, labels, head = problem()
    inputs[3, 2] = torch.nan
    with pytest.raises(Diverged, match=r"the loss of the linear probe is NaN: .*base model"):
        fit_head(inputs, labels, head, 0.01, 5)


def test_a_probe_changes_the_head_alone_and_is_scored(tmp_path: Path) -> None:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 12))
    draw(tmp_path / "test", dict.fromkeys(COLOURS, 1))
    plain = job(tmp_path, {})
    made, model = tiny()
    nn.init.zeros_(vision.head(model).weight)
    put(plain.start, (made, model))
    result = probe(
        Probe(penalty=1e-5),
        plain.start,
        plain.development,
        tmp_path,
        tmp_path / "probe",
        tmp_path / "cache",
        "cpu",
        batch_size=8,
    )
    assert result.examples == 9
    assert result.accuracy > 0.8
    assert result.folder == tmp_path / "probe"
    read, probed = open_model(result.folder)
    assert read == made
    before = model.state_dict()
    changed = [n for n, t in probed.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == ["fc.weight", "fc.bias"]
    answers = Checkpoint(result.predictions)
    assert answers["logits"].shape == (9, 3)
    assert int((~answers["correct"]).sum()) == result.errors
