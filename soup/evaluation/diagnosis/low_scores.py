"""Scores too low to believe of a trained model: chance, another order of classes, another record.

A wrong input (size, colours) or a wrong order of classes costs accuracy without any error. Three
signs tell it from a poor model:

- The predictions do not depend on the labels: the accuracy is not above what predictions and labels
  of the same frequencies agree on by chance (the expected agreement of Cohen's kappa, 1960), and is
  below half-way from there to 1.
- Predictions fit the labels better if each class is renamed. The renaming is found on one half of
  the examples (Kuhn's assignment of classes to predictions) and tested on the other half.
- The model's own record of its held-out accuracy is far above.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from soup.errors import some
from soup.evaluation.metrics import Labels, mcnemar

RECORD = "accuracy"  # key in the metadata of weights: held-out accuracy when they were made
ALPHA = 0.01  # our level for a test of each model
FAR = 0.15  # our threshold: a difference from the record that other images alone rarely make
ORDER = "is the order of classes that of the training? A model.json with its classes settles it."
MOST = 4096  # classes: the assignment takes their square in memory and their cube in time
INPUT = "is the input (image size, crop, mean, std; tokenizer of texts) that of the training"


class Answers(NamedTuple):
    """What a model said to labelled examples.

    Attributes:
        predicted: (examples,), index of the class; -1 for none.
        recorded: the accuracy that its file records; None if it records none.
    """

    predicted: Labels
    recorded: float | None = None


def recorded(metadata: Mapping[str, str]) -> float | None:
    """The held-out accuracy that the metadata of a weights file record, a fraction, or None."""
    try:
        accuracy = float(metadata.get(RECORD, ""))
    except ValueError:
        return None
    return accuracy if 0 <= accuracy <= 1 else None


def low_scores(answers: Mapping[str, Answers], labels: Labels, classes: Sequence[str]) -> list[str]:
    """Warnings about models whose scores are too low to believe, each with the likely cause.

    Args:
        answers: by the names of the models.
        labels: int (examples,), the right classes.
        classes: names of the classes.

    Returns:
        A sentence for each cause, at most three.
    """
    if not len(labels):
        return []
    shuffled: dict[str, str] = {}
    by_chance: dict[str, str] = {}
    forgotten: dict[str, str] = {}
    for name, model in answers.items():
        accuracy = float((model.predicted == labels).mean())
        if order := _order(model.predicted, labels, classes):
            shuffled[name] = order
        elif chance := _chance(model.predicted, labels, classes):
            by_chance[name] = chance
        elif model.recorded is not None and _far_below(accuracy, model.recorded, len(labels)):
            forgotten[name] = (
                f"right on {accuracy:.1%} of {len(labels)} examples, and on {model.recorded:.1%} "
                "by its own record"
            )
    return [
        _sentence(models, remedy)
        for models, remedy in (
            (shuffled, ORDER),
            (by_chance, f"{INPUT}, and the order of classes? Is the head trained?"),
            (forgotten, f"{INPUT}, and are the examples of the same kind?"),
        )
        if models
    ]


def _sentence(models: Mapping[str, str], remedy: str) -> str:
    names = [*models]
    others = "" if len(names) == 1 else f"{some(names, 4, last=' ')}: "
    return f"{others}{names[0]} is {models[names[0]]}; {remedy}"


def _chance(predicted: Labels, labels: Labels, classes: Sequence[str]) -> str:
    """Why the predictions tell nothing of the labels; '' if they do, or if that is not known."""
    n, counts = len(labels), len(classes) + 1
    right = int((predicted == labels).sum())
    shares = [np.bincount(each % counts, minlength=counts) / n for each in (predicted, labels)]
    chance = min(1.0, float(shares[0] @ shares[1]))
    if _p_value(right, n, chance, "greater") < ALPHA:
        return ""
    if _p_value(right, n, (1 + chance) / 2, "less") >= ALPHA:
        return ""  # too few examples to tell
    text = (
        f"right on {right / n:.1%} of {n} examples, which is no better than chance ({chance:.1%})"
    )
    most = int(shares[0].argmax())
    if shares[0][most] > 0.9 and len(classes) > 1:
        said = "nothing" if most == len(classes) else repr(classes[most])
        text += f": it answers {said} to {shares[0][most]:.0%}"
    return text


def _order(predicted: Labels, labels: Labels, classes: Sequence[str]) -> str:
    """How the classes seem to be exchanged; '' if they do not, or if they are too many to tell."""
    if len(classes) > MOST:
        return ""
    halves = [np.arange(len(labels)) % 2 == part for part in (0, 1)]
    renamed = np.full(len(labels), -1)
    for here, there in (halves, halves[::-1]):
        meaning = _renaming(predicted[here], labels[here], len(classes))
        renamed[there] = meaning[predicted[there]]
    right, better = predicted == labels, renamed == labels
    # Far more than noise, and so much that most of the errors go.
    if mcnemar(right, better) >= ALPHA or better.mean() < (1 + right.mean()) / 2:
        return ""
    meaning = _renaming(predicted, labels, len(classes))
    exchanged = [
        f"{classes[said]!r} for {classes[meant]!r}"
        for said, meant in enumerate(meaning[:-1])
        if said != meant and np.count_nonzero(predicted == said)
    ]
    return (
        f"right on {right.mean():.1%} of {len(labels)} examples, and on {better.mean():.1%} if the "
        f"classes are exchanged: it says {some(exchanged, 3, last=' ')}"
    )


def _renaming(predicted: Labels, labels: Labels, classes: int) -> Labels:
    """For each predicted class, and last for none, the class that it means at best."""
    from scipy.optimize import linear_sum_assignment

    known = predicted >= 0
    table: Float[ndarray, "classes classes"] = np.zeros((classes, classes))
    np.add.at(table, (predicted[known], labels[known]), 1)
    # Of equally good renamings the one that renames fewest classes.
    _, meaning = linear_sum_assignment(table + np.eye(classes) / (classes + 1), maximize=True)
    return np.append(meaning, -1)


def _far_below(accuracy: float, record: float, n: int) -> bool:
    right = round(accuracy * n)
    return record - accuracy > FAR and _p_value(right, n, record, "less") < ALPHA


def _p_value(right: int, n: int, share: float, alternative: str) -> float:
    """Of the exact binomial test that this share of examples is right."""
    from scipy.stats import binomtest

    return float(binomtest(right, n, share, alternative).pvalue)
