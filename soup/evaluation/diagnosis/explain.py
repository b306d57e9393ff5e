"""Why a soup is worse than its best ingredient, or contains only one.

The evidence comes from the weights and, where held-out data is given, from the average of the best
model with each other model and from the sampling noise of the held-out set.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from soup.evaluation.diagnosis import heldout_causes, weight_causes
from soup.evaluation.diagnosis.barrier import cost
from soup.evaluation.diagnosis.finding import Finding
from soup.evaluation.diagnosis.geometry import kinship, measure
from soup.evaluation.metrics import Correct
from soup.recipes.ingredient import Ingredient
from soup.recipes.judge import Judge
from soup.weights import Weights, average, lerp


def explain(
    ingredients: Sequence[Ingredient],
    base: Weights | None = None,
    judge: Judge | None = None,
    correct: Callable[[Weights], Correct] | None = None,
    soup: Weights | None = None,
    metadata: Mapping[str, Mapping[str, str]] | None = None,
    head: Sequence[str] | None = None,
) -> list[Finding]:
    """The reasons against averaging these models, the strongest evidence first.

    Args:
        ingredients: models with distinct names. An ingredient without a score (NaN) is scored by
            `judge` or `correct`, if one is given.
        base: the initialisation of the ingredients.
        judge: weights -> cost. A cost shows barriers but not sampling noise.
        correct: weights -> which held-out examples the model classifies correctly. Tells more than
            `judge`, which is then not called. Called once for each ingredient, for the average of
            each ingredient with the best one, and for the soup.
        soup: the average that disappointed; by default the average of all ingredients. Where
            greedy selection kept one model, leave `soup` out.
        metadata: ingredient's name -> its notes. The notes "base" (digest of the initialisation)
            and "lr" (learning rate) are used. The entry "the base" holds the digest of `base` as
            its note "base".
        head: names of the classifier's tensors; guessed from the names by default.

    Returns:
        At least one finding; a single one of the kind "nothing" if no cause was found.

    Raises:
        ValueError: there are no ingredients, or two have the same name.
        Incompatible: names or shapes differ.
    """
    weights = {ingredient.name: ingredient.weights for ingredient in ingredients}
    if not weights or len(weights) < len(ingredients):
        raise ValueError("explaining needs ingredients, each with a name of its own")
    notes = metadata or {}
    geometry = measure(weights, base, head)
    models = kinship(geometry, {n: of["base"] for n, of in notes.items() if "base" in of})
    rates = {n: rate for n in weights if (rate := _number(notes.get(n, {}).get("lr")))}
    sound = {model.name: weights[model.name] for model in models if model.verdict != "broken"}
    costs = {i.name: i.errors for i in ingredients if i.name in sound}
    findings = [*weight_causes.kin(models), *weight_causes.twice(geometry)]
    findings += weight_causes.rates(models, rates)
    verdict = "without held-out data a barrier cannot be seen"
    if len(sound) < 2:
        verdict = "there are no two models to average"
    elif correct is not None:
        answers = {name: correct(of_model) for name, of_model in sound.items()}
        costs = {name: float((~right).sum()) for name, right in answers.items()}
        best = _best(costs)
        middles = {name: correct(middle) for name, middle in _middles(best, sound)}
        mix = correct(average([*sound.values()]) if soup is None else soup)
        small, verdict = heldout_causes.noise(best, answers[best], mix, middles)
        findings += heldout_causes.barriers(best, answers, middles)
        findings += [*heldout_causes.weak(best, answers, middles), *small]
    elif judge is not None:
        costs = {n: cost(sound[n], judge) if math.isnan(e) else e for n, e in costs.items()}
        best = _best(costs)
        judged = {name: cost(middle, judge) for name, middle in _middles(best, sound)}
        findings += heldout_causes.costly_middles(best, costs, judged)
        mixed = cost(average([*sound.values()]) if soup is None else soup, judge)
        verdict = f"the average costs {mixed:g}, {best} alone {costs[best]:g}"
    if len(sound) >= 2:
        findings += weight_causes.heads(geometry, models, sound, _best(costs))
    return sorted(findings, key=lambda finding: -finding.strength) or [_nothing(verdict)]


def _number(text: str | None) -> float | None:
    """A note of the metadata as a number; None if it is absent or not a number."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _best(costs: Mapping[str, float]) -> str:
    """The name with the lowest cost; one without a cost (NaN) only if no model has a cost."""
    return min(costs, key=lambda name: (math.isnan(costs[name]), costs[name]))


def _middles(best: str, weights: Mapping[str, Weights]) -> Iterator[tuple[str, Weights]]:
    """The name of each model but the best, and its average with the best."""
    for name, other in weights.items():
        if name != best:
            yield name, lerp(weights[best], other, 0.5)


def _nothing(verdict: str) -> Finding:
    return Finding(
        "nothing",
        f"nothing wrong found: {verdict}",
        {},
        "if the soup does not help, averaging does not help here: models that differ more (other "
        "data order, augmentation or learning rate, all from one base) give it more to do",
        0.0,
    )
