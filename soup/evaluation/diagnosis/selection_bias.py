"""Selection bias: whether a gain is more than noise, and how much of it is due to the selection.

The best of K models, and each model that greedy selection accepts, is chosen by its score on the
held-out examples; its score on the same examples is therefore too high. Two estimates of the bias:

- `best_of` needs only which examples each of the K models gets right. It is Efron's bootstrap
  estimate of optimism (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 17),
  after the models' scores are shrunk towards their mean by the part of their variance that is
  noise. Without the shrinkage the estimate is 1 / sqrt(2) of the bias of equally good models,
  because the noise that separates them is taken for quality.
- `split_bias` makes a soup on one half of the examples and scores it on the other half. With n
  examples the bias falls as n^-1/2 where the models are equally good and as n^-1 where they are far
  apart. The bias that is seen on halves is therefore multiplied by 2^-3/4, which lies between the
  two and is wrong by a fifth at most.

Simulations with known truth, in percentage points (some are repeated in
`tests/evaluation/diagnosis/test_selection_bias.py`):

- Best of 8 models on 500 examples, true accuracies spread by 0, 0.7 and 2.4: the bias was 1.7, 1.2
  and 0.5 (standard error 0.1), the estimates 1.4, 1.3 and 0.7.
- Best of 24 models on 1000 examples, spread by 0 and 1.2: the bias was 1.26 and 0.61 (standard
  error 0.06), the estimates 1.20 and 0.61.
- Gain of greedy soups over the best single model: the bias was -1.02, -0.51, -0.50, -0.24, 0.37
  and 0.28 (standard errors 0.16, 0.02, 0.09, 0.03, 0.05 and 0.04), the estimates -0.67, -0.44,
  -0.64, -0.27, 0.35 and 0.26. The bias has either sign, because the best single model is selected
  too, and its score is often more biased than the soup's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from soup.evaluation.diagnosis.barrier import cost
from soup.evaluation.heldout_loss import HeldoutError
from soup.evaluation.metrics import Correct, mcnemar
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge

FROM_HALF = 2**-0.75  # bias on all examples / bias on half of them; see above
Indices = Int[ndarray, " some"]


class Gain(NamedTuple):
    """The difference in accuracy between two models on the same examples.

    Attributes:
        gain: accuracy of the second model less that of the first, a fraction.
        se: standard error of the gain, paired, a fraction.
        p: p-value of McNemar's exact two-sided test.
        within_noise: whether the gain is smaller than the chosen number of standard errors, or the
            number of examples that differ smaller than its square.
    """

    gain: float
    se: float
    p: float
    within_noise: bool


def paired(before: Correct, after: Correct, factor: float = 2.0) -> Gain:
    """The gain from one model to another.

    Args:
        before, after: which examples each model classifies correctly.
        factor: number of standard errors beyond which a gain is more than noise; 2 is the usual
            95%.
    """
    difference = after.astype(np.float64) - before
    gain, se = float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
    # Of few examples all may change alike, which leaves no standard error. If k of many change
    # alike, the gain is k / n and the standard error k**0.5 / n: the same k are too few.
    few = int(np.count_nonzero(difference)) < factor**2
    return Gain(gain, se, mcnemar(before, after), few or abs(gain) < factor * se)


def gains(answers: Sequence[Correct], factor: float = 2.0) -> list[Gain]:
    """The gain of each step of a sequence of soups, from which examples each soup gets right."""
    return [paired(before, after, factor) for before, after in pairwise(answers)]


class Bias(NamedTuple):
    """A score on the examples that the model was selected on, and its estimated bias.

    Attributes:
        apparent: the score on these examples, a fraction.
        bias: by how much the selection raises it on average, a fraction.
    """

    apparent: float
    bias: float

    @property
    def honest(self) -> float:
        """The score to expect on examples that the model was not selected on."""
        return self.apparent - self.bias


def best_of(
    correct: Bool[ndarray, "models examples"], resamples: int = 1000, seed: int = 0
) -> Bias:
    """The accuracy of the best of several models, and its bias.

    Needs no forward pass. The accuracies are shrunk towards their mean until their variance is the
    observed one less that of the noise. Then examples are resampled, which keeps the correlation of
    the models' errors. The bias is the mean noise of the model that is best in each resample.

    Args:
        correct: which examples each model classifies correctly; all models that the best one was
            chosen from.
        resamples: of the bootstrap.
    """
    models, examples = correct.shape
    accuracy = correct.mean(axis=1)
    if models < 2:
        return Bias(float(accuracy.max()), 0.0)
    deviations = correct - correct.mean(axis=0)
    noise = deviations.var(axis=1).sum() / (models - 1) / examples
    spread = accuracy.var(ddof=1)
    shrinkage = math.sqrt(max(0.0, 1 - noise / spread)) if spread > 0 else 0.0
    shrunk = accuracy.mean() + shrinkage * (accuracy - accuracy.mean())
    # Examples that the same models get right are alike, so that a resample is one multinomial draw
    # of how many there are of each kind.
    patterns, counts = np.unique(correct, axis=1, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(examples, counts / examples, size=resamples)
    # As float64, because numpy multiplies matrices of integers slowly.
    errors = draws.astype(np.float64) @ patterns.T.astype(np.float64) / examples - accuracy
    best = (shrunk + errors).argmax(axis=1)
    return Bias(float(accuracy.max()), float(errors[np.arange(resamples), best].mean()))


class Honest(NamedTuple):
    """A soup's gain over the best single model and its accuracy, each with its bias."""

    gain: Bias
    accuracy: Bias


def split_bias(
    soup: Soup,
    ingredients: Sequence[Ingredient],
    correct: Mapping[str, Correct],
    judge_on: Callable[[Indices], Judge],
    splits: int = 5,
    seed: int = 0,
    recipe: Callable[[Sequence[Ingredient], Judge], Soup] = greedy,
) -> Honest:
    """The bias of a soup's gain and accuracy on the held-out examples it was selected on.

    The recipe makes a soup on one half of the examples, and its score there is compared with its
    score on the other half; the same for the best ingredient. Each split is used both ways round.

    Args:
        soup: made by the recipe on all n held-out examples; has a number of errors.
        ingredients: those that the soup was made from; those without a score are ignored.
        correct: name of a scored ingredient -> which of the n examples it classifies correctly.
        judge_on: indices of examples -> a judge that counts the errors among them.
        splits: number of random splits in halves.
        recipe: ingredients, judge -> soup.

    Raises:
        ValueError: the errors of the soup are not known, or an ingredient is missing in `correct`.
        HeldoutError: there are fewer than two examples.
    """
    scored = [i for i in ingredients if not math.isnan(i.errors)]
    unknown = [i.name for i in scored if i.name not in correct]
    if soup.errors is None or unknown:
        raise ValueError(f"no held-out answers of {', '.join(unknown) or 'the soup'}")
    n = len(correct[scored[0].name])
    if n < 2:
        raise HeldoutError(f"{n} held-out examples cannot be split in two; give more")
    rng = np.random.default_rng(seed)
    biases = []
    for _ in range(splits):
        order = rng.permutation(n)
        halves = order[: n // 2], order[n // 2 :]
        for here, there in (halves, halves[::-1]):
            biases.append(_half_bias(scored, correct, judge_on, here, there, recipe))
    gain, accuracy = np.mean(biases, axis=0) * FROM_HALF
    best = min(i.errors for i in scored)
    return Honest(
        Bias((best - soup.errors) / n, float(gain)), Bias(1 - soup.errors / n, float(accuracy))
    )


def _half_bias(
    scored: Sequence[Ingredient],
    correct: Mapping[str, Correct],
    judge_on: Callable[[Indices], Judge],
    here: Indices,
    there: Indices,
    recipe: Callable[[Sequence[Ingredient], Judge], Soup],
) -> tuple[float, float]:
    """Gain and accuracy of a soup on the examples `here` it is made on, less those on `there`."""
    wrong = {i.name: ~correct[i.name] for i in scored}
    rescored = [replace(i, errors=int(wrong[i.name][here].sum())) for i in scored]
    soup = recipe(rescored, judge_on(here))
    best = min(rescored, key=lambda ingredient: ingredient.errors)
    soup_here = cost(soup.weights, judge_on(here)) if soup.errors is None else soup.errors
    if len(soup.kept) == 1:  # known, with the BatchNorm statistics of its own training
        soup_there = float(wrong[soup.kept[0]][there].sum())
    else:
        soup_there = cost(soup.weights, judge_on(there))
    rise = soup_there / len(there) - soup_here / len(here)
    best_rise = wrong[best.name][there].mean() - best.errors / len(here)
    return float(rise - best_rise), float(rise)
