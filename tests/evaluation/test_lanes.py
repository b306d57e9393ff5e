"""Several lanes give the results of one, to the last bit, and a model that is unfit gets one."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.images import Images
from soup.data.text.examples import TextExamples
from soup.data.text.tokens import Tokens
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.metrics import correct
from soup.evaluation.predict import predict
from soup.evaluation.scores import task_score
from soup.models.batchnorm import Recalibration
from soup.models.lanes import deal, in_lanes
from soup.models.transforms import image_input
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from soup.train.features import features
from tests.worlds import tiny

CPU = torch.device("cpu")
Lanes = Callable[[int], None]
_thread_of_batch: list[str] = []
_held_elsewhere: dict[str, Tensor] = {}


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lanes]:
    """Gives this process so many cores."""

    def give(count: int) -> None:
        monkeypatch.setattr("soup.models.lanes.cores", lambda: count)
        torch.set_num_threads(count)

    yield give
    torch.set_num_threads(1)


class Told(nn.Module):
    """A network that tells, outside itself, which threads computed with it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        _thread_of_batch.append(threading.current_thread().name)
        time.sleep(0.001)  # so that each lane gets its turn
        return self.network(inputs)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    return float(nn.functional.cross_entropy(logits, labels))


def pictures(count: int = 99) -> ImageExamples:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
    of = tiny()[0]
    return as_examples(Images(pixels, rng.integers(0, 3, count), ()), image_input(of))


def texts(count: int = 99) -> TextExamples:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, count)
    flat = np.ones((lengths.sum(), 2), np.int32)
    flat[:, 0] = rng.integers(1, 50, len(flat))
    tokens = Tokens(flat, lengths, lengths)
    return TextExamples(rng.integers(0, 3, count), "", 0, lambda: tokens)


class OfTexts(nn.Module):
    """The mean of a layer over a text's tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.layer = nn.Embedding(50, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Any:
        present = (inputs[:, 1:] > 0).transpose(1, 2)
        hidden = self.layer(self.words(inputs[:, 0])).tanh() * present
        return self.head(hidden.sum(1) / present.sum(1))


def compute_with(lanes: Lanes, work: Callable[[], Any]) -> list[Any]:
    """What some work gives in one, two and three lanes, of which one is the caller."""
    results = []
    for count in (1, 2, 3):
        lanes(count)
        _thread_of_batch.clear()
        results.append(work())
        assert torch.get_num_threads() == count
        assert all(name.startswith("lane") == (count > 1) for name in _thread_of_batch)
    return results


@pytest.mark.parametrize("of", ["pictures", "texts"])
def test_predictions_are_those_of_one_lane(of: str, lanes: Lanes) -> None:
    examples = texts() if of == "texts" else pictures()
    model = Told(OfTexts() if of == "texts" else tiny()[1]).eval()
    chosen = np.random.default_rng(1).permutation(99)[:80]
    one, two, three = compute_with(lanes, lambda: predict(model, examples, 9, indices=chosen))
    assert np.array_equal(one, two)
    assert np.array_equal(one, three)
    # The rows are those of the examples.
    np.testing.assert_allclose(one[7], predict(model, examples, 1, indices=chosen[7:8])[0], 1e-4)


def test_features_are_those_of_one_lane(lanes: Lanes) -> None:
    architecture, model = tiny()
    results = compute_features(lanes, model, architecture)
    assert results[0].shape == (99, 8)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def compute_features(lanes: Lanes, model: nn.Module, architecture: Any) -> list[Any]:
    results = []
    for count in (1, 2, 3):
        lanes(count)
        results.append(np.concatenate([*features(model, pictures(), architecture, 9)]))
    return results


@pytest.mark.parametrize("of", ["pictures", "texts"])
@pytest.mark.parametrize("kind", ["errors", "f1", "cross-entropy"])
def test_a_judge_decides_and_stops_as_in_one_lane(kind: str, of: str, lanes: Lanes) -> None:
    examples = texts() if of == "texts" else pictures()
    network = Told(OfTexts() if of == "texts" else tiny()[1]).eval()
    architecture = tiny()[0]
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(2)
    candidates = [
        {name: tensor + n * torch.randn_like(tensor) for name, tensor in start.items()}
        for n in range(4)
    ]
    labels = predict(network, examples, 9).argmax(axis=1)
    labels[:9] = (labels[:9] + 1) % 3
    examples = replace(examples, labels=labels)
    score = {"f1": task_score("f1", 1), "cross-entropy": cross_entropy}.get(kind)

    def cook() -> Any:
        evaluator = Evaluator(examples, architecture, (network,), 9)
        logits = [evaluator.logits(weights) for weights in candidates]
        right = [correct(each, examples.labels) for each in logits]
        if score is None:
            (judge,) = evaluator.judges(right)
        else:
            (judge,) = evaluator.score_judges(score, right)
        costs = [judge(weights) for weights in candidates]
        ingredients = [
            Ingredient(f"{n}", weights, cost)
            for n, (weights, cost) in enumerate(zip(candidates, costs, strict=True))
        ]
        soup = greedy(ingredients, judge)
        trace = [(trial.name, trial.errors, trial.at_most) for trial in soup.trace]
        return costs, soup.kept, trace, judge.examples_seen, judge.logits.tobytes()

    one, two, three = compute_with(lanes, cook)
    assert one == two
    assert one == three
    seen = one[3][len(candidates) :]
    assert kind == "cross-entropy" or min(seen) < 99, "no candidate was rejected early"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_batchnorm_statistics_are_those_of_one_lane(name: str, lanes: Lanes) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    inputs = torch.randn(31, 3, 24, 24)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def prepare(batch: Tensor) -> Tensor:
        _thread_of_batch.append(threading.current_thread().name)
        time.sleep(0.001)
        return batch * 2

    def statistics() -> dict[str, bytes]:
        model.load_state_dict(start)
        found = Recalibration(inputs, prepare, batch_size=4)(model, start)
        changed = model.state_dict()
        assert found
        assert all(torch.equal(changed[name], tensor) for name, tensor in found.items())
        assert all(torch.equal(changed[n], t) for n, t in start.items() if n not in found)
        return {name: tensor.numpy().tobytes() for name, tensor in found.items()}

    one, two, three = compute_with(lanes, statistics)
    assert one == two
    assert one == three


def test_the_loss_of_the_examples_set_aside_is_that_of_one_lane(lanes: Lanes) -> None:
    torch.manual_seed(0)
    model = Told(nn.Linear(5, 3))
    inputs, labels = torch.randn(900, 5), torch.randint(3, (900,))
    loss = HeldoutLoss(model, inputs, labels)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, two, three = compute_with(lanes, lambda: loss.check(weights, 1.5))
    assert one == two == three


def test_as_many_batches_are_computed_at_once_as_there_are_lanes(lanes: Lanes) -> None:
    lanes(3)
    model, parts = nn.Linear(1, 1), [*torch.arange(9).split(1)]
    [*in_lanes(model, lambda batch: batch, lambda part: part, parts, 3)]  # is found fit
    meeting = threading.Barrier(3, timeout=60)

    def compute(batch: Tensor) -> Tensor:
        meeting.wait()  # for the other two lanes
        return batch

    found = torch.cat([*in_lanes(model, compute, lambda part: part, parts, 3)])
    assert found.tolist() == [*range(9)]


def test_a_pass_that_stops_leaves_no_lane_at_work(lanes: Lanes) -> None:
    lanes(2)
    running: list[int] = []

    def compute(batch: Tensor) -> Tensor:
        running.append(1)
        time.sleep(0.01)
        running.append(-1)
        return batch

    passing = in_lanes(nn.Linear(1, 1), compute, lambda part: part, [*torch.arange(99).split(1)], 2)
    next(passing)
    passing.close()
    at_end = len(running)
    assert sum(running) == 0
    time.sleep(0.05)
    assert len(running) == at_end < 40


def test_an_error_in_a_lane_is_an_error_of_the_pass(lanes: Lanes) -> None:
    lanes(2)

    def compute(batch: Tensor) -> Tensor:
        if 50 in batch:
            raise ValueError("fifty")
        return batch

    parts = [*torch.arange(99).split(3)]
    with pytest.raises(ValueError, match="fifty"):
        [*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, 2)]


def test_operators_of_a_lane_use_one_thread(lanes: Lanes) -> None:
    lanes(3)

    def compute(batch: Tensor) -> Tensor:
        square = torch.ones(300, 300)
        (square @ square).softmax(1)
        return torch.tensor([torch.get_num_threads()])

    parts = [*torch.arange(9).split(1)]
    found = torch.cat([*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, 3)])
    assert found.tolist() == [1] * 9
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("cores", "most"), [(1, 4), (4, 1)])
def test_one_lane_too_is_one_thread(
    cores: int, most: int, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota of less than two cores, where torch sees more; and a model of one lane."""
    lanes(4)
    monkeypatch.setattr("soup.models.lanes.cores", lambda: cores)

    def compute(batch: Tensor) -> Tensor:
        return torch.tensor([torch.get_num_threads()])

    parts = [*torch.arange(4).split(1)]
    found = torch.cat([*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, most)])
    assert found.tolist() == [1] * 4


class Keeps(nn.Module):
    """Keeps its input in an attribute while it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Any:
        self.kept = inputs
        time.sleep(0.002)
        return self.kept.flatten(1)[:, :3] * self.weight


class Counts(Keeps):
    """Counts its batches in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Any:
        self.count += 1
        return inputs.flatten(1)[:, :3] * self.weight


class KeepsElsewhere(Keeps):
    """Keeps its input where no module shows it."""

    def forward(self, inputs: Tensor) -> Any:
        _held_elsewhere["input"] = inputs
        time.sleep(0.01)
        return _held_elsewhere["input"].flatten(1)[:, :3] * self.weight


class Prepares(Keeps):
    """Makes a table at the first batch, which it keeps."""

    table: Tensor | None = None

    def forward(self, inputs: Tensor) -> Any:
        if self.table is None:
            self.table = torch.ones(3)
        return inputs.flatten(1)[:, :3] * self.weight * self.table


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Keeps, "Told is computed in one thread, because each batch changes its Keeps.kept"),
        (Counts, "each batch changes its Counts.count"),
        (KeepsElsewhere, "several threads at once give other results"),
        (Prepares, ""),
    ],
)
def test_a_model_that_is_unfit_for_threads_gets_one_lane(
    kind: type[Keeps], told: str, lanes: Lanes, caplog: pytest.LogCaptureFixture
) -> None:
    model, examples = Told(kind()).eval(), pictures(60)
    lanes(1)
    expected = predict(model, examples, 9)
    lanes(3)
    with caplog.at_level(logging.WARNING):
        _thread_of_batch.clear()
        assert np.array_equal(predict(model, examples, 9), expected)
        assert np.array_equal(predict(model, examples, 9), expected)
    assert len(caplog.messages) == (1 if told else 0)
    assert told in caplog.text
    if told:
        assert len({*_thread_of_batch[-7:]}) == 1


def test_a_model_with_hooks_gets_one_lane(lanes: Lanes) -> None:
    lanes(3)
    model = tiny()[1]
    threads: list[str] = []
    hook = model.register_forward_hook(lambda *_: threads.append(threading.current_thread().name))
    predict(model, pictures(60), 9)
    hook.remove()
    assert len({*threads}) == 1
    assert len(threads) == 7


@pytest.mark.parametrize(
    ("batch_size", "side", "expected"),
    [
        (256, 32, (64, 4)),
        (256, 96, (32, 8)),
        (256, 224, (16, 16)),
        (256, 2000, (16, 16)),
        (256, None, (32, 8)),
        (20, 224, (16, 4)),
        (4, 32, (4, 16)),
        (1, 32, (1, 64)),
    ],
)
def test_batches_depend_on_the_batch_size_and_the_input_alone(
    batch_size: int, side: int | None, expected: tuple[int, int], lanes: Lanes
) -> None:
    for count in (1, 3):
        lanes(count)
        found = deal(batch_size, CPU, None if side is None else 3 * side * side)
        assert (found.size, found.lanes) == expected
