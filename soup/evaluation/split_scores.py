"""Scores of models and ensembles on every split, with the logits of one model in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from soup.evaluation.metrics import Logits, Score, score
from soup.evaluation.number_scores import Numbers
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.targets import Targets, columns_of

Scores = dict[str, Score | Numbers]


def score_splits(
    models: Sequence[str],
    ensembles: Mapping[str, Collection[str]],
    targets: Mapping[str, Targets],
    logits: Callable[[str, str], Logits],
    bins: int,
    advance: Callable[[int], object] = lambda _: None,
) -> dict[str, Scores]:
    """Score models and ensembles on every split.

    The logits of a model on a set of examples are requested once, scored, added to the sums of the
    model's ensembles and dropped. Likelihood and calibration are those of the possible answers of
    a split, not of all classes.

    Args:
        models: names of the models.
        ensembles: name -> names of its members, which are among the models.
        targets: split -> its targets, in the order of the result.
        logits: model, split -> float16 or float32 (examples, classes).
        bins: number of bins of the calibration error.
        advance: called, after each model and set of examples, with the number of examples.

    Returns:
        Name of a model or ensemble -> split -> score, in the order of `targets`.

    Raises:
        ValueError: an ensemble has no members.
    """
    if not all(ensembles.values()):
        raise ValueError("an ensemble needs a model")
    scores: dict[str, Scores] = {name: {} for name in [*models, *ensembles]}

    def score_on(examples: str, name: str, raw: Logits) -> None:
        for split, target in targets.items():
            if target.of == examples:
                scores[name][split] = _score(target, raw, bins)

    for examples in dict.fromkeys(target.of for target in targets.values()):
        sums: dict[str, Logits] = {}
        for model in models:
            raw = logits(model, examples)
            score_on(examples, model, raw)
            for name, members in ensembles.items():
                if model in members:
                    # The float64 sum of float16 logits is exact: the order does not matter.
                    total = sums.setdefault(name, np.zeros(raw.shape))
                    total += raw
            count = len(raw)
            del raw  # else two models' logits are in memory at the next turn
            advance(count)
        for name, members in ensembles.items():
            mean = sums.pop(name)
            mean /= len(members)
            rounded = to_float16_keeping_argmax(mean, columns_of(targets, examples))
            score_on(examples, name, rounded)
    return {
        name: {split: by_split[split] for split in targets} for name, by_split in scores.items()
    }


def _score(target: Targets, raw: Logits, bins: int) -> Score | Numbers:
    if target.labels.dtype.kind == "f":
        return Numbers(target.labels, raw[:, 0])
    return score(target.project(raw), target.labels, bins)
