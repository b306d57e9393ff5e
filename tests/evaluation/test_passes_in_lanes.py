"""Passes in several lanes give the results of one, to the last bit."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from soup.evaluation.evaluator import Evaluator
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.metrics import correct, margins
from soup.evaluation.predict import predict
from soup.evaluation.scores import task_score
from soup.models.batchnorm import Recalibration
from soup.recipes import RECIPES
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from soup.train.features import features
from tests.laned import Lanes, OfTexts, Told, pictures, texts, thread_of_batch
from tests.worlds import tiny


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    return float(nn.functional.cross_entropy(logits, labels))


def compute_with(lanes: Lanes, work: Callable[[], Any]) -> list[Any]:
    """What some work gives in one, two and three lanes, of which one is the caller."""
    results = []
    for count in (1, 2, 3):
        lanes(count)
        thread_of_batch.clear()
        results.append(work())
        assert torch.get_num_threads() == count
        assert all(name.startswith("lane") == (count > 1) for name in thread_of_batch)
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
        known = {f"{n}": margins(each, examples.labels) for n, each in enumerate(logits)}
        if score is None:
            (judge,) = evaluator.judges(right, margins=known)
        else:
            (judge,) = evaluator.score_judges(score, right, known)
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


@pytest.mark.parametrize(("bound", "batches"), [(27, 4), (36, 5), (98, 11)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_batch_is_begun_that_will_probably_not_be_needed(
    count: int, bound: int, batches: int, lanes: Lanes
) -> None:
    network = Told(tiny()[1]).eval()
    labels = (predict(network, pictures(), 9).argmax(axis=1) + 1) % 3  # every answer is an error
    evaluator = Evaluator(replace(pictures(), labels=labels), tiny()[0], (network,), 9)
    (judge,) = evaluator.judges()
    lanes(count)
    assert judge(network.state_dict()) == 99  # and finds that lanes are fit
    thread_of_batch.clear()
    assert judge(network.state_dict(), bound) is None
    assert judge.examples_seen[-1] == 9 * batches
    assert len(thread_of_batch) == batches


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_batchnorm_statistics_are_those_of_one_lane(name: str, lanes: Lanes) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    inputs = torch.randn(31, 3, 24, 24)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def prepare(batch: Tensor) -> Tensor:
        thread_of_batch.append(threading.current_thread().name)
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


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("learned", {"epochs": 1}), ("mehl", {"m": 2, "epochs": 1, "lr": 0.1})],
)
def test_a_soup_by_gradients_is_that_of_one_lane(
    recipe: str, options: dict[str, Any], lanes: Lanes
) -> None:
    """Of layers so large that operators on them use several threads where they may."""

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(200, 4000), nn.ReLU(), nn.Linear(4000, 5))

    torch.manual_seed(0)
    base = network().state_dict()
    pool = [
        Ingredient(name, {n: t + 0.01 * torch.randn_like(t) for n, t in base.items()}, 0.0)
        for name in "abcd"
    ]
    inputs, labels = 30 * torch.randn(300, 200), torch.randint(5, (300,))

    def cook() -> list[bytes]:
        soup = RECIPES[recipe](pool, HeldoutLoss(network(), inputs, labels), **options)
        return [tensor.numpy().tobytes() for tensor in soup.weights.values()]

    one, two, three = compute_with(lanes, cook)
    assert one == two
    assert one == three
