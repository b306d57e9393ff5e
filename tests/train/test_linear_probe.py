"""The linear probe: the optimum of its formula, on features of images seen as at evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soup.evaluation import prediction_file
from soup.evaluation.heldout import Result
from soup.models import open_model, timm_models
from soup.train import features as module
from soup.train.linear_probe import fit_head, fit_numbers, probe
from soup.train.loop import Diverged
from tests.laned import Lanes
from tests.worlds import COLOURS, draw, image_store, job, put, tiny, world


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
    # In float64: where sums in float32 end depends on the processor.
    inputs, labels, head = problem()
    inputs, head = inputs.double(), head.double()
    start = nn.Linear(10, 4).double()
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


@pytest.mark.parametrize("chunk", [120, 50, 7])
def test_chunks_give_the_head_of_all_examples_at_once(chunk: int) -> None:
    inputs, labels, head = problem()
    first = nn.Linear(10, 4)
    first.load_state_dict(head.state_dict())
    start = nn.Linear(10, 4)
    start.load_state_dict(head.state_dict())
    whole = fit_head(inputs, labels, first, 0.1, 200)
    assert fit_head(inputs, labels, head, 0.1, 200, chunk) == pytest.approx(whole, abs=1e-6)
    torch.testing.assert_close(head.weight, first.weight, atol=1e-4, rtol=0)
    assert np.linalg.norm(gradient(inputs, labels, head, start, 0.1)) < 1e-4


@pytest.mark.parametrize("chunk", [1500, 700])
@pytest.mark.parametrize("outputs", [1, 36])
def test_the_head_has_the_same_bits_on_any_number_of_cores(
    outputs: int, chunk: int, lanes: Lanes
) -> None:
    made = []
    for count in (1, 2, 3):
        lanes(count)
        torch.manual_seed(0)
        inputs, head = torch.randn(1500, 128), nn.Linear(128, outputs)
        if outputs == 1:
            fit_numbers(inputs, torch.randn(1500), head, 0.1, chunk)
        else:
            fit_head(inputs, torch.randint(0, outputs, (1500,)), head, 1e-3, 5, chunk)
        assert torch.get_num_threads() == count
        made.append(torch.cat([head.weight.detach().flatten(), head.bias.detach()]))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world(tmp_path, test=1)
    return tmp_path


def probed(
    root: Path, name: str, penalty: float, cache: str = "cache", limit_gib: float = 8.0
) -> Result:
    plain = job(root, {})
    return probe(
        penalty,
        200,
        plain.start,
        plain.development,
        image_store(root, cache, limit_gib),
        root / name,
        "cpu",
        batch_size=8,
    )


def test_a_second_probe_computes_no_features(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = probed(root, "fresh", 1e-2, cache="other")
    probed(root, "first", 1e-5)
    monkeypatch.setattr(timm_models, "features", None)
    for path in (root / "train").rglob("*.png"):
        path.unlink()
    second = probed(root, "second", 1e-2)
    assert second.weights.read_bytes() == fresh.weights.read_bytes()


def test_features_of_an_earlier_version_of_the_code_are_computed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[nn.Module] = []
    compute = timm_models.features

    def counted(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        seen.append(model)
        return compute(model, images)

    monkeypatch.setattr(timm_models, "features", counted)
    probed(root, "first", 1e-2)
    first = len(seen)
    probed(root, "again", 1e-2)
    assert len(seen) == first > 0
    monkeypatch.setattr(module, "of_code", lambda *_: "later")
    probed(root, "later", 1e-2)
    assert len(seen) == 2 * first


def test_other_weights_or_images_have_other_features(root: Path) -> None:
    probed(root, "first", 1e-2)
    put(root / "start", tiny(seed=5))
    again, fresh = probed(root, "again", 1e-2), probed(root, "fresh", 1e-2, cache="other")
    assert again.weights.read_bytes() == fresh.weights.read_bytes()
    draw(root / "train", {"red": 3}, first=400)
    (root / "development.csv").unlink()
    again, fresh = probed(root, "again", 1e-2), probed(root, "fresh", 1e-2, cache="third")
    assert again.weights.read_bytes() == fresh.weights.read_bytes()


def test_features_without_room_in_the_cache_give_the_same_head(root: Path) -> None:
    first = probed(root, "first", 1e-2)
    second = probed(root, "second", 1e-2, cache="none", limit_gib=1e-9)
    assert not any((root / "none").glob("*.npy"))
    assert second.weights.read_bytes() == first.weights.read_bytes()


def test_a_probe_changes_the_head_alone_and_is_scored(tmp_path: Path) -> None:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 12))
    draw(tmp_path / "test", dict.fromkeys(COLOURS, 1), first=500)
    plain = job(tmp_path, {})
    made, model = tiny()
    nn.init.zeros_(timm_models.head(model).weight)
    put(plain.start, (made, model))
    result = probe(
        1e-5,
        200,
        plain.start,
        plain.development,
        image_store(tmp_path),
        tmp_path / "probe",
        "cpu",
        batch_size=8,
    )
    assert result.examples == 9
    assert result.score > 0.8
    assert result.folder == tmp_path / "probe"
    read, probed = open_model(result.folder)
    assert read == made
    before = model.state_dict()
    changed = [n for n, t in probed.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == ["fc.weight", "fc.bias"]
    assert prediction_file.read(result.predictions).shape == (9, 3)
    assert int((~prediction_file.read(result.predictions, "correct")).sum()) == result.errors
