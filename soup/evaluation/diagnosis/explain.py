"""Why is my soup only one model? Why is the average worse than the best?

Evidence from the weights, and where there is held-out data, from the line between the best and each
other model and from the noise of the held-out set.
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
    """Everything found that speaks against averaging, the strongest evidence first.

    Args:
        ingredients: of different names; without a score (NaN) they are scored if there is data.
        base: their initialisation.
        judge: any cost; it finds barriers, but knows nothing of noise.
        correct: which held-out examples weights get right; tells more than a judge. Asked about
            each ingredient once, about the middle between it and the best, and about the soup.
        soup: the average that disappointed; that of all by default. Where greedy kept one model,
            leave it out.
        metadata: by name; of use are "base", the digest of the initialisation, and "lr". Under
            "the base", the digest of the base given is its "base".
        head: names of the classifier's tensors; guessed from the names by default.

    Returns:
        One finding or more; of the kind "nothing" if no cause was found.

    Raises:
        ValueError: no ingredients, or two of one name.
        Incompatible: names or shapes differ.
    """
    weights = {one.name: one.weights for one in ingredients}
    if not weights or len(weights) < len(ingredients):
        raise ValueError("explaining needs ingredients, each with a name of its own")
    known = metadata or {}
    geometry = measure(weights, base, head)
    models = kinship(geometry, {n: own["base"] for n, own in known.items() if "base" in own})
    rates = {n: rate for n in weights if (rate := _number(known.get(n, {}).get("lr")))}
    whole = {one.name: weights[one.name] for one in models if one.verdict != "broken"}
    costs = {one.name: one.errors for one in ingredients if one.name in whole}
    found = [*weight_causes.kin(models), *weight_causes.twice(geometry)]
    found += weight_causes.rates(models, rates)
    verdict = "without held-out data a barrier cannot be seen"
    if len(whole) < 2:
        verdict = "there are no two models to average"
    elif correct is not None:
        answers = {name: correct(own) for name, own in whole.items()}
        costs = {name: float((~own).sum()) for name, own in answers.items()}
        best = _best(costs)
        middles = {name: correct(middle) for name, middle in _middles(best, whole)}
        mix = correct(average([*whole.values()]) if soup is None else soup)
        small, verdict = heldout_causes.noise(best, answers[best], mix, middles)
        found += heldout_causes.barriers(best, answers, middles)
        found += [*heldout_causes.weak(best, answers, middles), *small]
    elif judge is not None:
        costs = {n: cost(whole[n], judge) if math.isnan(e) else e for n, e in costs.items()}
        best = _best(costs)
        judged = {name: cost(middle, judge) for name, middle in _middles(best, whole)}
        found += heldout_causes.costly_middles(best, costs, judged)
        mixed = cost(average([*whole.values()]) if soup is None else soup, judge)
        verdict = f"the average costs {mixed:g}, {best} alone {costs[best]:g}"
    if len(whole) >= 2:
        found += weight_causes.heads(geometry, models, whole, _best(costs))
    return sorted(found, key=lambda one: -one.strength) or [_nothing(verdict)]


def _number(text: str | None) -> float | None:
    """A number that a file says of itself; nothing if it is none."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _best(costs: Mapping[str, float]) -> str:
    """The first of the cheapest; an unscored one only where there is no other."""
    return min(costs, key=lambda name: (math.isnan(costs[name]), costs[name]))


def _middles(best: str, weights: Mapping[str, Weights]) -> Iterator[tuple[str, Weights]]:
    for name, own in weights.items():
        if name != best:
            yield name, lerp(weights[best], own, 0.5)


def _nothing(verdict: str) -> Finding:
    return Finding(
        "nothing",
        f"nothing wrong found: {verdict}",
        {},
        "if the soup does not help, averaging does not help here: models that differ more (other "
        "data order, augmentation or learning rate, all from one base) give it more to do",
        0.0,
    )
