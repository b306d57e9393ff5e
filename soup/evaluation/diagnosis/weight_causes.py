"""Causes of a bad soup that the weights alone show."""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from soup.evaluation.diagnosis.finding import Finding, findings
from soup.evaluation.diagnosis.geometry import SAME, Geometry, Group, Relation
from soup.evaluation.diagnosis.heads import matching
from soup.evaluation.diagnosis.heldout_causes import RECOMPUTE
from soup.weights import Weights, specs

# Cosine that two heads keep if both were fine-tuned from one head; geometry.py has the figures.
ONE_HEAD = 0.5
# Robust standard deviations beyond which a distance is an outlier. The scale is logarithmic because
# the learning rates of a sweep, and the distances with them, spread over orders of magnitude.
ROBUST = 3.0


def kin(models: Sequence[Relation]) -> list[Finding]:
    """The models that are broken, and those that have another initialisation."""
    broken = [model for model in models if model.verdict == "broken"]
    unrelated = [model for model in models if model.verdict == "unrelated"]
    mean_cosine = sum(model.cosine for model in unrelated) / max(1, len(unrelated))
    return findings(
        "broken",
        broken,
        {"models": [model.name for model in broken]},
        "leave them out: they diverged, or their files are damaged",
        1.0,
    ) + findings(
        "unrelated",
        unrelated,
        {m.name: {"cosine": m.cosine, "relative": m.relative} for m in unrelated},
        "average only models fine-tuned from one initialisation",
        1 - max(0.0, mean_cosine),
    )


def twice(geometry: Mapping[Group, Geometry]) -> list[Finding]:
    """The models that were given twice, and so count double in an average."""
    pairs = geometry["all"].twice()
    return findings(
        "twice",
        [f"{a} and {b} are one model, given twice" for a, b in pairs],
        {"pairs": [list(pair) for pair in pairs]},
        "leave one of them out, or check that the second run trained at all",
        1.0,
    )


def batchnorm(weights: Sequence[Weights]) -> list[Finding]:
    """Running statistics of normalisation layers that differ between models."""
    if not weights:
        return []
    names = [name for name in specs(weights[0]) if name.endswith(".running_var")]
    differ = [n for n in names if any(not weights[0][n].equal(w[n]) for w in weights[1:])]
    summary = (
        f"{len(differ)} BatchNorm layers keep running statistics that differ between the models, "
        "and averaged statistics are not those of the averaged weights"
    )
    # Weak, as nothing was measured: held-out data would tell whether it matters.
    return findings("batchnorm", [summary] * bool(differ), {"layers": differ}, RECOMPUTE, 0.25)


def rates(models: Sequence[Relation], learning_rates: Mapping[str, float]) -> list[Finding]:
    """Models much further from the reference than the others, mostly by a high learning rate.

    A model counts if `kinship` calls it "far", or if its distance to the reference exceeds both
    twice the median distance (never so with two models) and, in its logarithm, the median by
    `ROBUST` standard deviations (1.4826 times the median absolute deviation).

    Args:
        models: the result of `kinship`.
        learning_rates: name -> learning rate of a model, where it is known.
    """
    related = [m for m in models if m.verdict in ("shared", "far") and m.name != m.reference]
    if not related:
        return []
    median = statistics.median(model.relative for model in related)
    logs = np.log([max(model.relative, SAME) for model in related])
    deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    limit = max(2 * median, float(np.exp(np.median(logs) + ROBUST * deviation)))
    usual = statistics.median(learning_rates.values()) if learning_rates else math.nan
    outliers = [m for m in related if m.verdict == "far" or m.relative > limit]
    sentences, evidence = [], {}
    for model in outliers:
        rate = learning_rates.get(model.name)
        compared = f", with a learning rate of {rate:g} against {usual:g}" if rate else ""
        sentences.append(
            f"{model.name} went {model.relative:.2g} of the weights' length from "
            f"{model.reference}, where the median is {median:.2g} (cosine {model.cosine:.3f})"
            f"{compared}"
        )
        numbers = {"relative": model.relative, "median": median, "cosine": model.cosine}
        evidence[model.name] = {**numbers, "lr": rate}
    remedy = "leave them out, or fine-tune again with a lower learning rate or fewer epochs"
    strengths = [
        max(1 - m.cosine if m.verdict == "far" else 0, 1 - limit / m.relative) for m in outliers
    ]
    return findings("learning rate", sentences, evidence, remedy, max(strengths, default=0))


def heads(
    geometry: Mapping[Group, Geometry],
    models: Sequence[Relation],
    weights: Mapping[str, Weights],
    against: str,
) -> list[Finding]:
    """Heads that do not fit although the backbones do: another class order or initialisation.

    Args:
        geometry: the result of `measure`.
        models: the result of `kinship`.
        weights: name -> weights of a model.
        against: name of the model whose head the others are compared with.
    """
    shared = [model.name for model in models if model.verdict == "shared"]
    if "head" not in geometry or against not in shared:
        return []
    shared.remove(against)
    cosines = geometry["head"].cosines
    row_of = geometry["head"].names.index
    rows = {name: _rows(weights[name], geometry["head"].tensors) for name in [against, *shared]}
    moved, fresh = {}, {}
    for name in shared:
        matchings = [matching(a, b) for a, b in zip(rows[against], rows[name], strict=True)]
        cosine = float(cosines[row_of(name), row_of(against)])
        if reordered := next((matched for matched in matchings if matched.moved), None):
            moved[name] = reordered
        elif cosine < ONE_HEAD:
            fresh[name] = cosine
    return findings(
        "order of classes",
        [
            f"{len(m.moved)} of the classes of {name} stand in another order than {against}'s: "
            f"cosine {m.in_place:.2f} in place, {m.matched:.2f} in the order that fits"
            for name, m in moved.items()
        ],
        {name: m._asdict() for name, m in moved.items()},
        "put the head's rows into one order (evidence: rows `moved` fit rows `to`)",
        1.0,
    ) + findings(
        "head",
        [
            f"the head of {name} points another way than {against}'s (cosine {cosine:.2f}) "
            "although the backbones agree"
            for name, cosine in fresh.items()
        ],
        {name: {"cosine": cosine} for name, cosine in fresh.items()},
        "start all fine-tunes from one head: a linear probe first, or zero-shot weights",
        1 - max(0.0, min(fresh.values(), default=0.0)),
    )


def _rows(weights: Weights, names: Sequence[str]) -> list[np.ndarray]:
    """The 2-d tensors of a head, each float64 (classes, features)."""
    tensors = [weights[name] for name in names]
    return [tensor.double().cpu().numpy() for tensor in tensors if tensor.dim() == 2]
