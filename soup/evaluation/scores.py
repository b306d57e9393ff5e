"""The scores that soups can be selected by: counts of errors, and other scores as costs."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, Score, top
from soup.evaluation.metrics import predicted


def _confusion(logits: Tensor, labels: Tensor) -> Float[Tensor, "classes answers"]:
    """Counts by label and predicted class, the last column being examples without a prediction."""
    classes = logits.shape[1]
    answers = torch.from_numpy(predicted(logits.float().numpy())) % (classes + 1)
    pairs = torch.bincount(labels * (classes + 1) + answers, minlength=classes * (classes + 1))
    return pairs.double().view(classes, classes + 1)


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """1 less the mean F1 score over the classes that occur in the labels or the predictions.

    The F1 score of a class is 2 TP / (2 TP + FP + FN). An example without a prediction is a false
    negative of its class. The cost is NaN if all labels are of one class: another class then has no
    positives, for which F1 is not defined.
    """
    table = _confusion(logits, labels)
    labelled, answered = table.sum(dim=1), table[:, :-1].sum(dim=0)
    if (labelled > 0).sum() < 2:
        return math.nan
    f1 = 2 * table.diagonal() / (labelled + answered)
    return 1 - float(f1[labelled + answered > 0].mean())


def matthews(logits: Tensor, labels: Tensor) -> float:
    """1 less the Matthews correlation coefficient, which is 0 for constant labels or predictions.

    Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    An example without a prediction counts as predicted to be of a class that no label has.
    """
    table = _confusion(logits, labels)
    n, labelled, answered = table.sum(), table.sum(dim=1), table.sum(dim=0)
    covariance = table.diagonal().sum() * n - (labelled * answered[:-1]).sum()
    variances = (n**2 - (labelled**2).sum()) * (n**2 - (answered**2).sum())
    return 1 - float(covariance / variances.sqrt()) if variances > 0 else 1.0


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


COUNTS: dict[str, ErrorFunction] = {"accuracy": TOP1_ERROR, "top5": top(5)}
# Scores that are not defined on examples of a single class.
CLASSES_COMPARED = ("f1", "matthews")
SCORES: dict[str, Score] = {
    "f1": macro_f1,
    "matthews": matthews,
    "loss": _loss,
}
