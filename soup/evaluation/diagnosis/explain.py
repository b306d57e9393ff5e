"""Why a soup is worse than its best ingredient, or contains only one.

The evidence comes from the weights and, where held-out data is given, from the average of the best
model with each other model and from the sampling noise of the held-out set.
"""

from collections.abc import Callable, Mapping

from soup.evaluation.diagnosis import heldout_causes, weight_causes
from soup.evaluation.diagnosis.finding import Finding
from soup.evaluation.diagnosis.geometry import kinship, measure
from soup.evaluation.metrics import Correct
from soup.weights import Weights, average, lerp


def explain(
    weights: Mapping[str, Weights],
    base: Weights | None = None,
    correct: Callable[[Weights], Correct] | None = None,
    metadata: Mapping[str, Mapping[str, str]] | None = None,
    recomputed: Callable[[Weights], Correct] | None = None,
) -> list[Finding]:
    """The reasons against averaging these models, the strongest evidence first.

    Args:
        weights: name -> model; one or more.
        base: the initialisation of the models.
        correct: weights -> which held-out examples the model classifies correctly. Called once for
            each model, for the average of each model with the best one, and for that of all.
        metadata: model's name -> its notes. The notes "base" (digest of the initialisation)
            and "lr" (learning rate) are used. The entry "the base" holds the digest of `base` as
            its note "base".
        recomputed: as `correct`, but with the BatchNorm statistics of the weights recomputed first.
            Called for averages, which are then judged by it.

    Returns:
        At least one finding; a single one of the kind "nothing" if no cause was found.

    Raises:
        Incompatible: names or shapes differ.
    """
    notes = metadata or {}
    geometry = measure(weights, base)
    models = kinship(geometry, {n: of["base"] for n, of in notes.items() if "base" in of})
    rates = {n: rate for n in weights if (rate := _number(notes.get(n, {}).get("lr")))}
    sound = {model.name: weights[model.name] for model in models if model.verdict != "broken"}
    findings = [*weight_causes.kin(models), *weight_causes.twice(geometry)]
    findings += weight_causes.rates(models, rates)
    if correct is None:
        findings += weight_causes.batchnorm([*sound.values()])
    if len(sound) < 2:
        verdict = "there are no two models to average"
    else:
        best, verdict = next(iter(sound)), "without held-out data a barrier cannot be seen"
        if correct is not None:
            answers = {name: correct(model) for name, model in sound.items()}
            best = max(answers, key=lambda name: float(answers[name].mean()))
            averages = {
                name: lerp(sound[best], model, 0.5) for name, model in sound.items() if name != best
            }
            middles = {name: correct(middle) for name, middle in averages.items()}
            if recomputed is not None:
                after = {name: recomputed(middle) for name, middle in averages.items()}
                findings += heldout_causes.batchnorm(best, middles, after)
                middles = after
            mix = (recomputed or correct)(average([*sound.values()]))
            small, verdict = heldout_causes.noise(best, answers[best], mix, middles)
            findings += heldout_causes.barriers(best, answers, middles)
            findings += [*heldout_causes.weak(best, answers, middles), *small]
        findings += weight_causes.heads(geometry, models, sound, best)
    return sorted(findings, key=lambda finding: -finding.strength) or [_nothing(verdict)]


def _number(text: str | None) -> float | None:
    """A note of the metadata as a number; None if it is absent or not a number."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _nothing(verdict: str) -> Finding:
    return Finding(
        "nothing",
        f"nothing wrong found: {verdict}",
        {},
        "if the soup does not help, averaging does not help here: models that differ more (other "
        "data order, augmentation or learning rate, all from one base) give it more to do",
        0.0,
    )
