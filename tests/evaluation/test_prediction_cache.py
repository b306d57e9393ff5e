"""Answers that are kept are asked for once, by what made them."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.images import Images
from soup.evaluation import prediction_cache
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_cache import PredictionCache, digest_of
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.models.transforms import image_input
from soup.weights import Weights
from tests.worlds import architecture


def named(name: str) -> ImageExamples:
    images = Images(None, np.zeros(4, np.int64), (), digest=name)
    return as_examples(images, image_input(architecture()))


SETS = {name: named(name) for name in ("heldout", "test", "r")}
WEIGHTS = {"w": torch.tensor([3.1])}


@dataclass
class World:
    """A store, and a model whose logits say which images and weights they are of."""

    kept: dict[tuple[str, str], Logits] = field(default_factory=dict)
    runs: list[tuple[str, str]] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)

    def compute(self, weights: Weights, images: ImageExamples) -> Logits:
        self.computed.append(images.digest)
        return np.full((4, 3), 1 / 3 + len(images.digest), np.float32) * float(weights["w"])

    def keep(self, run_id: str, split: str, digest: str, logits: Logits) -> None:
        self.runs.append((run_id, split))
        self.kept[split, digest] = logits

    def answers(self, **options: object) -> PredictionCache:
        given = {"kept": ["test"], "find": lambda *key: self.kept.get(key), **options}
        return PredictionCache(SETS, architecture(), self.compute, **given)


@pytest.fixture
def world() -> World:
    """In which the answers of one model on test are kept."""
    made = World()
    answers = made.answers()
    answers("a", WEIGHTS, "digest of a")
    assert made.computed == ["heldout", "test", "r"]
    answers.store("a", "run", made.keep)
    answers.store("a", "run", made.keep)
    answers.store("b", "run of b", made.keep)
    assert made.runs == [("run", "test")]
    made.computed.clear()
    return made


def test_what_is_kept_is_not_computed_again_and_gives_the_same(world: World) -> None:
    first = World().answers()("a", WEIGHTS, "digest of a")
    answers = world.answers()
    second = answers("a", WEIGHTS, "digest of a")
    assert world.computed == ["heldout", "r"]
    for split in SETS:
        assert second[split].dtype == np.float32
        np.testing.assert_array_equal(second[split], first[split])
    answers.store("a", "other run", world.keep)
    assert world.runs == [("run", "test")]


@pytest.mark.parametrize("changed", ["weights", "images", "architecture", "how", "code"])
def test_what_was_made_otherwise_is_computed(
    world: World, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    answers = world.answers(how="bf16" if changed == "how" else "")
    if changed == "code":
        monkeypatch.setattr(prediction_cache, "of_code", lambda *_: "later")
    if changed == "images":
        answers = replace(answers, sets={"test": replace(SETS["test"], digest="other")})
    if changed == "architecture":
        answers = replace(answers, architecture=architecture(24))
    answers("a", WEIGHTS, "other" if changed == "weights" else "digest of a")
    assert len(world.computed) == len(answers.sets)


def test_known_answers_on_held_out_cost_nothing(world: World) -> None:
    known = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    found = world.answers()("a", WEIGHTS, "digest of a", heldout=known)
    np.testing.assert_array_equal(found["heldout"], known.astype(np.float32))
    assert world.computed == ["r"]


def test_what_is_kept_is_rounded_and_what_is_not_is_not() -> None:
    found = World().answers()("a", WEIGHTS, "d")
    exact = World().compute(WEIGHTS, SETS["test"])
    assert (found["test"] != exact).all()
    np.testing.assert_array_equal(
        found["test"], to_float16_keeping_argmax(exact).astype(np.float32)
    )
    np.testing.assert_array_equal(found["r"], World().compute(WEIGHTS, SETS["r"]))


def test_a_digest_tells_weights_apart_by_names_shapes_and_numbers() -> None:
    plain = {"a": torch.zeros(2, 3), "b": torch.tensor(1.5)}
    others = [
        {"c": plain["a"], "b": plain["b"]},
        {**plain, "a": torch.zeros(3, 2)},
        {**plain, "a": torch.zeros(2, 3, dtype=torch.float16)},
        {**plain, "b": torch.tensor(1.5000001)},
    ]
    assert len({digest_of(each) for each in [plain, *others]}) == 5
    assert digest_of({"b": plain["b"], "a": plain["a"].T.contiguous().T}) == digest_of(plain)
