"""The scores that soups can be selected by: counts of errors, and other scores as costs.

F1 and the Matthews correlation are functions of counts: how many examples of a label got which
answer. The best that is still possible when some examples were not seen yet bounds them:

- An F1 score grows with every answer that becomes right; so does the correlation of two classes.
  With labels fixed, let p be the share of positives, a the share of them answered so, b that of
  the negatives, q = p a + (1 - p) b. The correlation is (a - b) sqrt(p (1 - p)) / sqrt(q (1 - q)),
  and its slope in a has the sign of q (1 - b) + b (1 - q) >= 0; in b the opposite, by symmetry. So
  the best case is that all other answers are right, and the bound is reached.
- For more classes that does not hold: a right answer may make the answers more even, which lowers
  the correlation. There the largest numerator (all other answers right) is divided by the least
  denominator (all other answers of the commonest class): a bound that is not always reached.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, top
from soup.evaluation.metrics import predicted
from soup.evaluation.number_scores import NUMBER_SCORES
from soup.evaluation.score_bounds import Score

Table = Float[Tensor, "classes answers"]


class Margins(NamedTuple):
    """What the scores need of counts by label and answer, float64.

    Attributes:
        right: examples of each class that are answered so, (..., classes).
        labels: examples of each class, (..., classes).
        answers: answers of each class, and last the examples without one, (..., classes + 1).
    """

    right: Tensor
    labels: Tensor
    answers: Tensor


def margins(table: Table) -> Margins:
    """Those of counts (classes, classes + 1), of which the last column is without a prediction."""
    return Margins(table.diagonal(), table.sum(dim=1), table.sum(dim=0))


@dataclass(frozen=True)
class ConfusionScore:
    """A score of counts by label and answer, as a cost: see `score_bounds.CountScore`.

    Attributes:
        costs: margins (...) -> 1 less the scores (...); NaN where one is not defined.
        bound: one such table and the numbers of examples not seen (classes,) -> no more than the
            cost with any answers to them; None for that of right answers to all of them.
    """

    costs: Callable[[Margins], Tensor]
    bound: Callable[[Table, Float[Tensor, " classes"]], float] | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> float:
        return self.cost(_confusion(logits, labels))

    def cost(self, table: Table) -> float:
        """1 less the score of one table."""
        return float(self.costs(margins(table)))

    def table(self, logits: Tensor, labels: Tensor) -> Table:
        """Counts by label and answer."""
        return _confusion(logits, labels)

    def least(self, table: Table, unseen: Tensor) -> float:
        """No more than the cost of any answers to the examples not seen."""
        if self.bound is not None:
            return self.bound(table, unseen.double())
        return self.cost(_all_right(table, unseen))


def _all_right(table: Table, unseen: Tensor) -> Table:
    """The counts if all other answers are right."""
    best = table.clone()
    best.diagonal().add_(unseen)
    return best


def _confusion(logits: Tensor, labels: Tensor) -> Float[Tensor, "classes answers"]:
    """Counts by label and predicted class, the last column being examples without a prediction."""
    classes = logits.shape[1]
    answers = torch.from_numpy(predicted(logits.float().numpy())) % (classes + 1)
    pairs = torch.bincount(labels * (classes + 1) + answers, minlength=classes * (classes + 1))
    return pairs.double().view(classes, classes + 1)


def _f1(m: Margins) -> Tensor:
    """The F1 score of each class, 2 TP / (2 TP + FP + FN); NaN of one that does not occur.

    An example without a prediction is a false negative of its class.
    """
    return 2 * m.right / (m.labels + m.answers[..., :-1])


def _macro_f1(m: Margins) -> Tensor:
    """1 less the mean F1 score over the classes that occur in the labels or the predictions.

    It is NaN if all labels are of one class: another class then has no positives, for which F1 is
    not defined.
    """
    several = (m.labels > 0).sum(dim=-1) > 1
    return (1 - _f1(m).nanmean(dim=-1)).where(several, math.nan)


def f1_accuracy(positive: int) -> ConfusionScore:
    """The mean of accuracy and the F1 score of one class, by which GLUE scores MRPC and QQP."""

    def costs(m: Margins) -> Tensor:
        accuracy = m.right.sum(dim=-1) / m.labels.sum(dim=-1)
        f1 = _f1(m)[..., positive].nan_to_num()  # 0 if the class does not occur
        return 1 - (accuracy + f1) / 2

    return ConfusionScore(costs)


def _matthews(m: Margins) -> Tensor:
    """1 less the Matthews correlation coefficient, which is 0 for constant labels or predictions.

    Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    An example without a prediction counts as predicted to be of a class that no label has.
    """
    covariance, labels, answers = _covariances(m)
    variances = labels * answers
    return 1 - torch.where(variances > 0, covariance / variances.clamp(min=1).sqrt(), 0.0)


def _covariances(m: Margins) -> tuple[Tensor, Tensor, Tensor]:
    """n^2 times the covariance of labels and answers, and the variances of each."""
    n = m.labels.sum(dim=-1)
    covariance = m.right.sum(dim=-1) * n - (m.labels * m.answers[..., :-1]).sum(dim=-1)
    return covariance, n**2 - (m.labels**2).sum(dim=-1), n**2 - (m.answers**2).sum(dim=-1)


def _matthews_bound(table: Table, unseen: Float[Tensor, " classes"]) -> float:
    best = _all_right(table, unseen)
    if len(table) == 2 and table[:, 2].sum() == 0:
        return float(_matthews(margins(best)))
    covariance, labels, _ = _covariances(margins(best))
    answered = table.sum(dim=0)
    answered[answered.argmax()] += unseen.sum()
    least = labels * (best.sum() ** 2 - (answered**2).sum())
    if covariance <= 0:
        return 1.0  # constant answers give a correlation of 0
    return max(0.0, 1 - float(covariance / least.sqrt())) if least > 0 else 0.0


macro_f1 = ConfusionScore(_macro_f1)
matthews = ConfusionScore(_matthews, _matthews_bound)


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


def task_score(name: str, positive: int = 1) -> Score | None:
    """The score of a name; None for accuracy, of which the errors are counted.

    Args:
        positive: index of the class that the F1 score of 'f1-accuracy' is of.

    Raises:
        KeyError: there is none of this name.
    """
    if name == "accuracy":
        return None
    return f1_accuracy(positive) if name == "f1-accuracy" else SCORES[name]


COUNTS: dict[str, ErrorFunction] = {"accuracy": TOP1_ERROR, "top5": top(5)}
# Scores that are not defined on examples of a single class.
CLASSES_COMPARED = ("f1", "matthews")
SCORES: dict[str, Score] = {
    "f1": macro_f1,
    "matthews": matthews,
    "loss": _loss,
    **NUMBER_SCORES,
}
