"""Causes that only held-out data show: a barrier, BatchNorm statistics, weak models, and noise."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from soup.evaluation.diagnosis.finding import Finding, findings
from soup.evaluation.diagnosis.selection_bias import paired
from soup.evaluation.metrics import Correct

# Standard errors beyond which a barrier counts; three, because each ingredient is tested.
BARRIER = 3.0
# Standard errors beyond which a gain counts: the usual 95%.
GAIN = 2.0
NORMAL = NormalDist()

RECOMPUTE = (
    "recompute the statistics of each average on training images before it is judged: "
    "soup cook --recalibrate FOLDER"
)
CROSS = "average only models on this side of the barrier; train shorter, or with a lower rate"


def barriers(
    best: str, answers: Mapping[str, Correct], middles: Mapping[str, Correct]
) -> list[Finding]:
    """Models whose average with the best model makes more errors than the two make on average.

    The standard error is that of the paired difference, example by example.

    Args:
        best: name of the best model.
        answers: model -> which held-out examples it classifies correctly.
        middles: model -> the same for its average with the best model.
    """
    sentences, evidence, strength = [], {}, 0.0
    for name, middle in middles.items():
        lost = (answers[best].astype(float) + answers[name]) / 2 - middle
        excess, se = float(lost.mean()), float(lost.std() / math.sqrt(len(lost)))
        if excess <= BARRIER * se or np.count_nonzero(lost) < BARRIER**2:
            continue
        sentences.append(
            f"there is a barrier between {best} and {name}: half-way the error is "
            f"{100 * excess:.1f} ± {100 * se:.1f} points above the mean of the two"
        )
        evidence[name] = {"excess": excess, "se": se, "error": float(1 - middle.mean())}
        strength = max(strength, NORMAL.cdf(excess / se) if se else 1.0)
    return findings("barrier", sentences, evidence, CROSS, strength)


def batchnorm(
    best: str, middles: Mapping[str, Correct], recomputed: Mapping[str, Correct]
) -> list[Finding]:
    """Averages with the best model that averaged BatchNorm statistics make worse than they are.

    Args:
        best: name of the best model.
        middles: model -> which held-out examples its average with the best model classifies
            correctly.
        recomputed: the same with the average's statistics recomputed.
    """
    sentences, evidence, strength = [], {}, 0.0
    for name, middle in middles.items():
        change = paired(middle, recomputed[name], BARRIER)
        if change.gain <= 0 or change.within_noise:
            continue
        before, after = float(middle.mean()), float(recomputed[name].mean())
        sentences.append(
            f"half-way between {best} and {name} the accuracy is {100 * before:.1f}% with averaged "
            f"BatchNorm statistics, and {100 * after:.1f}% with recomputed ones"
        )
        evidence[name] = {"averaged": before, "recomputed": after, "se": change.se}
        strength = max(strength, NORMAL.cdf(change.gain / change.se) if change.se else 1.0)
    return findings("batchnorm", sentences, evidence, RECOMPUTE, strength)


def weak(
    best: str, answers: Mapping[str, Correct], middles: Mapping[str, Correct]
) -> list[Finding]:
    """Models that lower the accuracy of the best model without a barrier between the two.

    The arguments are those of `barriers`.
    """
    behind = {name for barrier in barriers(best, answers, middles) for name in barrier.evidence}
    sentences, evidence, strength = [], {}, 0.0
    for name, middle in middles.items():
        change = paired(answers[best], middle, BARRIER)
        if name in behind or change.gain >= 0 or change.within_noise:
            continue
        gap = float(answers[best].mean() - answers[name].mean())
        sentences.append(
            f"{name} is {100 * gap:.1f} points worse than {best}, and averaged with it costs "
            f"{-100 * change.gain:.1f} ± {100 * change.se:.1f} points, with no barrier in between"
        )
        evidence[name] = {"gap": gap, "gain": change.gain, "se": change.se}
        strength = max(strength, NORMAL.cdf(-change.gain / change.se))
    remedy = "leave them out, as greedy does, or give them less weight, as a learned soup does"
    return findings("weak", sentences, evidence, remedy, strength)


def noise(
    best: str, alone: Correct, soup: Correct, middles: Mapping[str, Correct]
) -> tuple[list[Finding], str]:
    """Whether the held-out set is large enough to tell the soup from the best model.

    The smallest gain that the set can show is `GAIN` standard errors, and at least `GAIN`^2
    examples: fewer examples are within the noise even if all of them change for the better.

    Args:
        best: name of the best model.
        alone: which held-out examples the best model classifies correctly.
        soup: the same for the soup.
        middles: model -> the same for its average with the best model.

    Returns:
        A finding if the gain is within the noise, and the gain in words.
    """
    n = len(alone)
    gain, se, p, within = paired(alone, soup, GAIN)
    verb = "gains" if gain >= 0 else "loses"
    says = f"the average {verb} {100 * abs(gain):.2f} ± {100 * se:.2f} points against {best} alone"
    if not within:
        return [], says
    smallest = max(GAIN * se, GAIN**2 / n)
    needed = math.ceil(n * (GAIN * se / gain) ** 2) if gain and se else None
    pairs = {name: paired(alone, middle, GAIN) for name, middle in middles.items()}
    clear = sum(1 for pair in pairs.values() if pair.gain > 0 and not pair.within_noise)
    evidence = {
        "examples": n,
        "gain": gain,
        "se": se,
        "p": p,
        "smallest": smallest,
        "needed": needed,
        "pairs": {name: {"gain": pair.gain, "se": pair.se} for name, pair in pairs.items()},
    }
    summary = (
        f"{n} held-out examples are too few to tell: {says} (p = {p:.2f}), and a gain under "
        f"{100 * smallest:.2f} cannot be told from none; averaged with one other model, {best} "
        f"gains more than noise in {clear} of {len(pairs)} cases"
    )
    remedy = "score on more held-out examples" + (f": about {needed} would tell" if needed else "")
    # Half at most, so that every cause comes before it: noise is a lack of evidence.
    return [Finding("noise", summary, evidence, remedy, 0.5 * (1 - abs(gain) / smallest))], says
