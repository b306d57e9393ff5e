"""The held-out judge stops early and decides as if it had not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.images import Images
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.judges import ErrorJudge
from soup.evaluation.metrics import Correct, correct
from soup.evaluation.passes import hardest_first
from soup.evaluation.predict import predict
from soup.models import Architecture
from soup.models.transforms import image_input
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from soup.weights import Weights
from tests import reference
from tests.strategies import seeds
from tests.worlds import picture, tiny

CLASSES = ("a", "b", "c")
# The mean is 0 and the deviation 1/255: a pixel's value is what the model sees.
LINEAR = Architecture("none", "linear", CLASSES, 1, (0.0,) * 3, (1 / 255,) * 3)


def examples(images: Images, of: Architecture = LINEAR) -> ImageExamples:
    return as_examples(images, image_input(of))


def heldout_judge(
    model: nn.Module,
    images: Images,
    scored: Sequence[Correct] = (),
    batch_size: int = 256,
    of: Architecture = LINEAR,
) -> ErrorJudge:
    (judge,) = Evaluator(examples(images, of), of, (model,), batch_size).judges(scored)
    return judge


class Linear(nn.Module):
    """Logits from the colours of one pixel, in float64: nothing is near a tie by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # In training mode it is of no use, as a model with dropout would be.
        logits = images.flatten(1).double() @ self.weight.T
        return -logits if self.training else logits


@dataclass(frozen=True)
class Exam:
    """Held-out images of one pixel, and a generator for weights that do rather well on them."""

    images: Images
    teacher: np.ndarray
    rng: np.random.Generator

    def weights(self, noise: float = 0.7) -> dict[str, torch.Tensor]:
        weight = self.teacher + noise * self.rng.normal(size=(3, 3))
        return {"weight": torch.tensor(weight)}

    def correct(self, weights: Weights) -> np.ndarray:
        """Whole-batch numpy, with nothing of the judge in it."""
        logits = self.images.pixels.reshape(-1, 3) @ weights["weight"].double().numpy().T
        return correct(logits, self.images.labels)

    def errors(self, weights: Weights) -> int:
        return int((~self.correct(weights)).sum())


def exam(seed: int, n: int = 30) -> Exam:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, size=(n, 1, 1, 3), dtype=np.uint8)
    teacher = rng.normal(size=(3, 3))
    labels = (pixels.reshape(n, 3) @ teacher.T).argmax(axis=1)
    return Exam(Images(pixels, labels, ()), teacher, rng)


@given(seed=seeds, n=st.integers(1, 40), batch_size=st.integers(1, 50), ordered=st.booleans())
def test_the_decision_at_every_bound_is_that_of_a_full_pass(
    seed: int, n: int, batch_size: int, ordered: bool
) -> None:
    e = exam(seed, n)
    scored = [e.correct(e.weights()) for _ in range(3)] if ordered else []
    judge = heldout_judge(Linear(), e.images, scored, batch_size)
    weights = e.weights()
    errors = e.errors(weights)
    assert judge(weights) == errors
    assert judge(weights, at_most=errors + 1) == errors
    assert judge(weights, at_most=errors) == errors
    if errors:
        assert judge(weights, at_most=errors - 1) is None
        assert judge(weights, at_most=0) is None


@pytest.mark.parametrize("tie", ["keep", "reject"])
@given(seed=seeds, batch_size=st.integers(1, 12), models=st.integers(1, 6))
def test_a_soup_judged_early_is_that_of_recipe_1(
    tie: str, seed: int, batch_size: int, models: int
) -> None:
    e = exam(seed)
    pool = [e.weights() for _ in range(models)]
    ingredients = [Ingredient(str(i), w, e.errors(w)) for i, w in enumerate(pool)]
    scored = [e.correct(w) for w in pool]
    judge = heldout_judge(Linear(), e.images, scored, batch_size)
    soup = greedy(ingredients, judge, tie)
    kept, weights, _ = reference.greedy_soup(
        [reference.Candidate(i.name, dict(i.weights), -i.errors) for i in ingredients],
        lambda weights: -e.errors(weights),
        strictly=tie == "reject",
    )
    assert soup.kept == tuple(kept)
    assert torch.equal(soup.weights["weight"], weights["weight"])


def all_wrong(n: int, batch_size: int) -> tuple[ErrorJudge, dict[str, torch.Tensor]]:
    """A judge of n white images of class c, and weights that say b."""
    images = Images(np.full((n, 1, 1, 3), 255, np.uint8), np.full(n, 2), ())
    says_b = torch.eye(3)[:, [1]].expand(3, 3)
    return heldout_judge(Linear(), images, (), batch_size), {"weight": says_b}


@pytest.mark.parametrize(
    ("at_most", "examples_seen"), [(-1, 4), (3, 4), (4, 8), (7, 8), (8, 10), (9, 10), (10, 10)]
)
def test_it_stops_after_the_batch_that_exceeds_the_bound(at_most: int, examples_seen: int) -> None:
    judge, weights = all_wrong(10, batch_size=4)
    judge(weights, at_most)
    assert judge.examples_seen == [examples_seen]


def test_it_records_what_each_call_looked_at() -> None:
    judge, weights = all_wrong(10, batch_size=4)
    judge(weights)
    judge(weights, at_most=0)
    assert judge.examples_seen == [10, 4]


def test_the_hardest_examples_come_first_and_equals_keep_their_order() -> None:
    answers = np.array([[1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 0, 1]], dtype=bool)
    assert hardest_first(list(answers)).tolist() == [3, 0, 1, 4, 2]


def test_what_all_ingredients_got_wrong_rejects_a_candidate_at_once() -> None:
    e = exam(0, n=50)
    labels = e.images.labels.copy()
    labels[-3:] = (labels[-3:] + 1) % 3
    images = Images(e.images.pixels, labels, ())
    right = np.arange(50) < 47
    ordered = heldout_judge(Linear(), images, [right], batch_size=5)
    unordered = heldout_judge(Linear(), images, (), batch_size=5)
    for judge in (ordered, unordered):
        assert judge(e.weights(noise=0), at_most=2) is None
    assert (ordered.examples_seen, unordered.examples_seen) == ([5], [50])


def test_an_example_whose_logits_hold_a_nan_is_an_error() -> None:
    # Infinity times a black channel is NaN; times a bright one it is infinite, and on top.
    pixels = np.array([[1, 1, 1], [0, 1, 1]], dtype=np.uint8).reshape(2, 1, 1, 3)
    judge = heldout_judge(Linear(), Images(pixels, np.array([0, 0]), ()))
    weight = torch.eye(3)
    weight[0, 0] = torch.inf
    assert judge({"weight": weight}) == 1


def test_a_diverged_model_gets_everything_wrong() -> None:
    judge, _ = all_wrong(10, batch_size=4)
    assert judge({"weight": torch.full((3, 3), torch.nan)}) == 10


@given(seed=seeds, n=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_the_logits_are_in_the_order_of_the_images(seed: int, n: int, batch_size: int) -> None:
    e = exam(seed, n)
    model, weight = Linear().eval(), e.weights()["weight"]
    model.weight.data.copy_(weight)
    logits = predict(model, examples(e.images), batch_size)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, e.images.pixels.reshape(n, 3) @ weight.numpy().T, rtol=1e-3)


@pytest.mark.parametrize("form", ["files", "files resized as at evaluation", "held"])
def test_images_that_are_not_decoded_beforehand_give_the_same_logits(
    tmp_path: Path, form: str
) -> None:
    pictures = [picture((9 * n, 200, 30), n, (30, 20)) for n in range(11)]
    for n, image in enumerate(pictures):
        image.save(tmp_path / f"{n}.png")
    made, model = tiny(size=16)
    resize = image_input(made).resize
    labels = np.zeros(11, np.int64)
    pixels = np.stack([np.asarray(resize(image)) for image in pictures])
    expected = predict(model, examples(Images(pixels, labels, ()), made), 4)
    read = Images(None, labels, tuple(tmp_path / f"{n}.png" for n in range(11)))
    if form == "held":
        read = replace(read, held=pictures.__getitem__, paths=())
    elif form == "files":
        read = replace(read, resize=resize)
    np.testing.assert_array_equal(predict(model, examples(read, made), 4), expected)
    judge = heldout_judge(model, read, (), 4, made)
    assert judge(model.state_dict()) == int((expected.argmax(axis=1) != 0).sum())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-3), (True, 5e-2)])
def test_a_gpu_gives_the_logits_of_the_cpu(bf16: bool, tolerance: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 20, 20, 3), dtype=np.uint8)
    images = Images(pixels, np.zeros(50, np.int64), ())
    made, model = tiny()
    expected = predict(model, examples(images, made), 7)
    np.testing.assert_allclose(
        predict(model.cuda(), examples(images, made), 7, bf16), expected, atol=tolerance
    )


def test_training_mode_is_left_before_judging() -> None:
    e = exam(0)
    assert heldout_judge(Linear().train(), e.images)(e.weights(noise=0)) == 0
