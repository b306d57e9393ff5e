"""What chance did to a selection: whether a gain is more than noise, and what is left of it.

The best of K models, and each model that greedy accepts, was chosen because of the very examples
that it is then scored on; so its score there flatters it. Two estimates say by how much:

- `best_of`, from the K models' answers alone. Efron's bootstrap of the optimism (Efron and
  Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 17), with the models' scores first
  drawn together as far as their spread is noise. Without that it finds only 1 / sqrt(2) of the bias
  of equal models, since it takes the noise that parts them for quality.
- `split_bias`, by cooking on one half of the examples and looking at the other. A half has more
  noise, and so more bias: with n examples it falls as n^-1/2 where the models are equal and as n^-1
  where they are far apart. What the halves show is therefore taken times 2^-3/4, which is between
  the two and wrong by a fifth at most.

Simulated with known truth, in points (`tests/evaluation/diagnosis/test_selection_bias.py` repeats
some). For the best of 8 models on 500 examples, whose true accuracies spread by 0, 0.7 and 2.4, the
bias was 1.7, 1.2, 0.5 (standard error 0.1), and 1.4, 1.3, 0.7 was found; for 24 on 1000 that spread
by 0 and 1.2, 1.26 and 0.61 (0.06), found 1.20 and 0.61. For the gain of greedy soups over the best
single model -1.02, -0.51, -0.50, -0.24, 0.37, 0.28 (standard errors 0.16, 0.02, 0.09, 0.03, 0.05,
0.04), found -0.67, -0.44, -0.64, -0.27, 0.35, 0.26. It has either sign: the best single model is a
selected one too, and often more flattered than the soup.
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
from soup.weights import Weights

FROM_HALF = 2**-0.75
Indices = Int[ndarray, " some"]


class Gain(NamedTuple):
    """What one model has over another on the same examples.

    Attributes:
        gain: more examples right, as a share of all.
        se: its paired standard error.
        p: of McNemar's exact two-sided test.
        within_noise: the gain is smaller than the chosen number of standard errors.
    """

    gain: float
    se: float
    p: float
    within_noise: bool


def paired(before: Correct, after: Correct, factor: float = 2.0) -> Gain:
    """The gain from one model's answers to another's.

    Args:
        factor: a gain of so many standard errors is more than noise; 2 are the usual 95%.
    """
    difference = after.astype(np.float64) - before
    gain, se = float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
    return Gain(gain, se, mcnemar(before, after), abs(gain) < factor * se or gain == 0)


def gains(answers: Sequence[Correct], factor: float = 2.0) -> list[Gain]:
    """The gain of each acceptance: from each soup's answers to those of the next."""
    return [paired(before, after, factor) for before, after in pairwise(answers)]


class Bias(NamedTuple):
    """A figure that a selection shows of itself, and how much of it is the selection's doing."""

    apparent: float
    bias: float

    @property
    def honest(self) -> float:
        """What to expect on examples that took no part."""
        return self.apparent - self.bias


def best_of(
    correct: Bool[ndarray, "models examples"], resamples: int = 1000, seed: int = 0
) -> Bias:
    """The best model's accuracy, and its bias, from the answers of all that it was chosen from.

    Needs no forward pass. The models' accuracies are drawn towards their mean until their variance
    is that seen less that of the noise; then examples are resampled, which keeps the models'
    errors as correlated as they are, and the bias is the mean noise of the one that comes out best.
    """
    models, examples = correct.shape
    accuracy = correct.mean(axis=1)
    if models < 2:
        return Bias(float(accuracy.max()), 0.0)
    apart = correct - correct.mean(axis=0)
    noise = apart.var(axis=1).sum() / (models - 1) / examples
    spread = accuracy.var(ddof=1)
    kept = math.sqrt(max(0.0, 1 - noise / spread)) if spread > 0 else 0.0
    shrunk = accuracy.mean() + kept * (accuracy - accuracy.mean())
    # A resample is one multinomial draw of the counts of each pattern of answers.
    patterns, counts = np.unique(correct, axis=1, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(examples, counts / examples, size=resamples)
    # In floating point, for integers have no fast product.
    errors = draws.astype(np.float64) @ patterns.T.astype(np.float64) / examples - accuracy
    best = (shrunk + errors).argmax(axis=1)
    return Bias(float(accuracy.max()), float(errors[np.arange(resamples), best].mean()))


class Honest(NamedTuple):
    """A soup's gain over the best single model, and its accuracy, with their biases."""

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
    """How much of a soup's gain and accuracy on its own held-out set is selection.

    The recipe cooks on one half of the examples; what its soup and its best ingredient show there
    is set against what they show on the other half. Both ways round, `splits` times.

    Args:
        soup: cooked by the recipe on all examples; its errors were counted.
        correct: by name, each scored ingredient's answers on all n held-out examples.
        judge_on: from indices of examples to a judge that counts the errors among them.

    Raises:
        ValueError: the soup's errors or an ingredient's answers are not known, or there are too few
            examples to split.
    """
    scored = [one for one in ingredients if not math.isnan(one.errors)]
    unknown = [one.name for one in scored if one.name not in correct]
    if soup.errors is None or unknown:
        raise ValueError(f"no held-out answers of {', '.join(unknown) or 'the soup'}")
    n = len(correct[scored[0].name])
    if n < 2:
        raise HeldoutError(f"{n} held-out examples cannot be split in two; give more")
    rng = np.random.default_rng(seed)
    gaps = []
    for _ in range(splits):
        order = rng.permutation(n)
        halves = order[: n // 2], order[n // 2 :]
        for here, there in (halves, halves[::-1]):
            gaps.append(_flattery(scored, correct, judge_on, here, there, recipe))
    gain, accuracy = np.mean(gaps, axis=0) * FROM_HALF
    best = min(one.errors for one in scored)
    return Honest(
        Bias((best - soup.errors) / n, float(gain)), Bias(1 - soup.errors / n, float(accuracy))
    )


def _flattery(
    scored: Sequence[Ingredient],
    correct: Mapping[str, Correct],
    judge_on: Callable[[Indices], Judge],
    here: Indices,
    there: Indices,
    recipe: Callable[[Sequence[Ingredient], Judge], Soup],
) -> tuple[float, float]:
    """Gain and accuracy of what is cooked here, less the same there."""
    wrong = {one.name: ~correct[one.name] for one in scored}
    known = [replace(one, errors=int(wrong[one.name][here].sum())) for one in scored]
    soup = recipe(known, judge_on(here))
    best = min(known, key=lambda one: one.errors)
    ours: Weights = soup.weights
    soup_here = cost(ours, judge_on(here)) if soup.errors is None else soup.errors
    rise = cost(ours, judge_on(there)) / len(there) - soup_here / len(here)
    best_rise = wrong[best.name][there].mean() - best.errors / len(here)
    return float(rise - best_rise), float(rise)
