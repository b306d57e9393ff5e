"""Models and ensembles scored split by split are scored as if all logits were there at once."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soup.evaluation.metrics import score
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets, among_present, columns_of
from tests.strategies import seeds

MODELS = ("a", "b", "c")
ENSEMBLES = {"all": MODELS, "two": ("c", "a")}
LABELS = {"test": np.arange(30) % 4, "r": np.array([1, 3, 3, 1, 1])}
REAL = Targets("test", ((0,), (1,), (2,), (3,)), np.array([0, 2, 3]), np.array([4, 0, 7]))
TARGETS = {"test": among_present("test", LABELS["test"]), "real": REAL}
TARGETS["r"] = among_present("r", LABELS["r"])


def logits(model: str, split: str) -> np.ndarray:
    rng = np.random.default_rng([MODELS.index(model), len(split)])
    exact = rng.normal(size=(len(LABELS[split]), 4)) + np.eye(4)[LABELS[split]]
    return to_float16_keeping_argmax(exact, columns_of(TARGETS, split))


def test_every_model_and_ensemble_is_scored_on_every_split_in_order() -> None:
    scores = score_splits(MODELS, ENSEMBLES, TARGETS, logits, 5)
    assert list(scores) == [*MODELS, *ENSEMBLES]
    for name, by_split in scores.items():
        assert list(by_split) == ["test", "real", "r"]
        for split, found in by_split.items():
            target = TARGETS[split]
            members = [logits(m, target.of).astype(float) for m in ENSEMBLES.get(name, (name,))]
            mean = to_float16_keeping_argmax(
                np.mean(members, axis=0), columns_of(TARGETS, target.of)
            )
            expected = score(target.project(mean), target.labels, 5)
            np.testing.assert_array_equal(found.right, expected.right)
            assert (found.nll, found.ece) == (expected.nll, expected.ece)


def test_a_models_logits_are_asked_for_once_and_let_go_before_the_next() -> None:
    asked: list[tuple[str, str]] = []
    handed: list[weakref.ref[np.ndarray]] = []

    def watched(model: str, split: str) -> np.ndarray:
        gc.collect()
        assert not any(ref() is not None for ref in handed)
        asked.append((model, split))
        answers = logits(model, split)
        handed.append(weakref.ref(answers))
        return answers

    passes: list[int] = []
    score_splits(MODELS, ENSEMBLES, TARGETS, watched, 5, passes.append)
    assert asked == [(model, split) for split in ("test", "r") for model in MODELS]
    assert passes == [len(logits(model, split)) for model, split in asked]


@given(seed=seeds, models=st.integers(1, 80))
def test_an_ensembles_score_does_not_depend_on_the_order_of_its_members(
    seed: int, models: int
) -> None:
    rng = np.random.default_rng(seed)
    drawn = {
        str(model): (10.0 ** rng.uniform(-8, 4) * rng.normal(size=(4, 3))).astype(np.float16)
        for model in range(models)
    }
    before = {name: own.copy() for name, own in drawn.items()}
    key = {"test": among_present("test", np.array([0, 1, 2, 0]))}
    with pytest.MonkeyPatch.context() as patch:  # a score depends on nothing but these logits
        patch.setattr("soup.evaluation.split_scores.score", lambda logits, *_: logits)
        forth, back = (
            score_splits(order, {"all": order}, key, lambda name, _: drawn[name], 5)["all"]["test"]
            for order in ([*drawn], [*drawn][::-1])
        )
    assert isinstance(forth, np.ndarray)
    np.testing.assert_array_equal(forth, back)
    assert all((drawn[name] == own).all() for name, own in before.items())


def test_an_ensemble_of_nobody_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a model"):
        score_splits(MODELS, {"none": ()}, TARGETS, logits, 5)
