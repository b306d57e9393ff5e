"""Causes of a bad soup that the weights alone betray."""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from soup.evaluation.diagnosis.finding import Finding, listed
from soup.evaluation.diagnosis.geometry import SAME, Geometry, Group, Relation
from soup.evaluation.diagnosis.heads import matching
from soup.weights import Weights

# Of heads that one head became by fine-tuning, the cosine stays above; geometry.py has the figures.
ONE_HEAD = 0.5
# A distance is an outlier beyond so many robust standard deviations, on a logarithmic scale: the
# learning rates of a sweep spread over decades, and distances with them.
ROBUST = 3.0


def kin(models: Sequence[Relation]) -> list[Finding]:
    """Models that are broken or have another initialisation."""
    found = []
    broken = [one for one in models if one.verdict == "broken"]
    if broken:
        found.append(
            Finding(
                "broken",
                listed([str(one) for one in broken]),
                {"models": [one.name for one in broken]},
                "leave them out: they diverged, or their files are damaged",
                1.0,
            )
        )
    strangers = [one for one in models if one.verdict == "unrelated"]
    if strangers:
        found.append(
            Finding(
                "unrelated",
                listed([str(one) for one in strangers]),
                {one.name: {"cosine": one.cosine, "relative": one.relative} for one in strangers},
                "average only models fine-tuned from one initialisation",
                1 - max(0.0, statistics.mean(one.cosine for one in strangers)),
            )
        )
    return found


def twice(geometry: Mapping[Group, Geometry]) -> list[Finding]:
    """One model given twice: it only votes double."""
    pairs = geometry["all"].twice()
    if not pairs:
        return []
    return [
        Finding(
            "twice",
            listed([f"{a} and {b} are one model, given twice" for a, b in pairs]),
            {"pairs": [list(pair) for pair in pairs]},
            "leave one of them out, or check that the second run trained at all",
            1.0,
        )
    ]


def rates(models: Sequence[Relation], learning_rates: Mapping[str, float]) -> list[Finding]:
    """Models that went much further than the others: as a rule, by too high a learning rate.

    Far is what `kinship` calls so; or a distance to the reference over twice the median (which of
    two none has) and beyond `ROBUST` deviations (1.4826 MAD) of its logarithm.
    """
    related = [m for m in models if m.verdict in ("shared", "far") and m.name != m.reference]
    if not related:
        return []
    middle = statistics.median(one.relative for one in related)
    logs = np.log([max(one.relative, SAME) for one in related])
    deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    limit = max(2 * middle, float(np.exp(np.median(logs) + ROBUST * deviation)))
    usual = statistics.median(learning_rates.values()) if learning_rates else math.nan
    gone = [one for one in related if one.verdict == "far" or one.relative > limit]
    if not gone:
        return []
    sentences = []
    for one in gone:
        rate = learning_rates.get(one.name)
        known = f", with a learning rate of {rate:g} against {usual:g}" if rate else ""
        sentences.append(
            f"{one.name} went {one.relative:.2g} of the weights' length from {one.reference}, where"
            f" the median is {middle:.2g} (cosine {one.cosine:.3f}){known}"
        )
    return [
        Finding(
            "learning rate",
            listed(sentences),
            {
                one.name: {
                    "relative": one.relative,
                    "median": middle,
                    "cosine": one.cosine,
                    "lr": learning_rates.get(one.name),
                }
                for one in gone
            },
            "leave them out, or fine-tune again with a lower learning rate or fewer epochs",
            max(
                max(1 - one.cosine if one.verdict == "far" else 0, 1 - limit / one.relative)
                for one in gone
            ),
        )
    ]


def heads(
    geometry: Mapping[Group, Geometry],
    models: Sequence[Relation],
    weights: Mapping[str, Weights],
    against: str,
) -> list[Finding]:
    """Heads that do not fit where the backbones do: other classes' order, or another beginning."""
    shared = [one.name for one in models if one.verdict == "shared"]
    if "head" not in geometry or against not in shared:
        return []
    shared.remove(against)
    cosines = geometry["head"].cosines
    at = geometry["head"].names.index
    rows = {name: _rows(weights[name], geometry["head"].tensors) for name in [against, *shared]}
    moved, fresh = {}, {}
    for name in shared:
        order = [matching(a, b) for a, b in zip(rows[against], rows[name], strict=True)]
        if any(one.moved for one in order):
            moved[name] = next(one for one in order if one.moved)
        elif cosines[at(name), at(against)] < ONE_HEAD:
            fresh[name] = float(cosines[at(name), at(against)])
    found = []
    if moved:
        found.append(
            Finding(
                "order of classes",
                listed(
                    [
                        f"{len(m.moved)} of the classes of {name} stand in another order than "
                        f"{against}'s: cosine {m.in_place:.2f} in place, {m.matched:.2f} in the "
                        "order that fits"
                        for name, m in moved.items()
                    ]
                ),
                {name: m._asdict() for name, m in moved.items()},
                "put the head's rows into one order (evidence: rows `moved` fit rows `to`)",
                1.0,
            )
        )
    if fresh:
        found.append(
            Finding(
                "head",
                listed(
                    [
                        f"the head of {name} points another way than {against}'s (cosine "
                        f"{cosine:.2f}) although the backbones agree"
                        for name, cosine in fresh.items()
                    ]
                ),
                {name: {"cosine": cosine} for name, cosine in fresh.items()},
                "start all fine-tunes from one head: a linear probe first, or zero-shot weights",
                1 - max(0.0, min(fresh.values())),
            )
        )
    return found


def _rows(weights: Weights, names: Sequence[str]) -> list[np.ndarray]:
    tensors = [weights[name] for name in names]
    return [tensor.double().cpu().numpy() for tensor in tensors if tensor.dim() == 2]
