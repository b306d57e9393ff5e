"""The targets of a split: which answers are possible, and which are right for each example.

An answer is a group of train's classes. Its logit is the largest logit of these classes, as in the
published evaluation of ObjectNet (`project_logits` in `datasets/objectnet.py` of
mlfoundations/model-soups). Mostly a group is one class: ImageNet-R and ImageNet-A have 200 such
answers. An example may have several right answers (ReaL).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from soup.data.shifts.protocol import EvaluationProtocol, labels
from soup.evaluation.metrics import Labels, LabelSets, Logits, NumberLabels


@dataclass(frozen=True)
class Targets:
    """The possible answers of a split, and the right ones of each example.

    Attributes:
        of: the split whose logits are scored: the split itself, or one with the same images.
        groups: for each answer, the columns of the logits that stand for it.
        labels: int (examples,), index of the right answer; or (examples, most), indices of all
            right answers, filled with -1; or the numbers to predict, float (examples,).
        rows: int (examples,), which rows of the logits are scored, in order; None for all.
    """

    of: str
    groups: tuple[tuple[int, ...], ...]
    labels: Labels | LabelSets | NumberLabels
    rows: NDArray[np.int64] | None = None

    @property
    def columns(self) -> NDArray[np.int64]:
        """The columns of the logits that stand for any answer, int (columns,), group by group."""
        return np.array([column for group in self.groups for column in group], dtype=np.int64)

    def project(self, logits: Logits) -> Float[np.ndarray, "examples answers"]:
        """The logits of the answers, from the logits of the classes on the split `of`.

        Args:
            logits: float (rows, classes).
        """
        raw = logits if self.rows is None else logits[self.rows]
        if len(self.columns) == len(self.groups):
            every_class = np.array_equal(self.columns, np.arange(raw.shape[1]))
            return raw if every_class else raw[:, self.columns]  # no copy if none is needed
        starts = np.cumsum([0, *(len(group) for group in self.groups[:-1])])
        answers: NDArray[np.floating] = np.maximum.reduceat(raw[:, self.columns], starts, axis=1)
        return answers


def columns_of(targets: Mapping[str, Targets], examples: str) -> list[NDArray[np.int64]]:
    """The sets of columns that a model chooses among on the examples of a split."""
    return [target.columns for target in targets.values() if target.of == examples]


def among_all(split: str, right: Labels | NumberLabels, classes: int) -> Targets:
    """The targets of held-out and test: the answers are all classes, as when a soup is cooked.

    Args:
        right: int (examples,), the column of the right class of each example; or the numbers to
            predict, float (examples,).
        classes: how many the model knows.
    """
    if right.dtype.kind == "f":
        return Targets(split, ((0,),), right)
    return Targets(split, tuple((column,) for column in range(classes)), right)


def among_present(split: str, classes: Labels | NumberLabels) -> Targets:
    """The default targets of a shift, which may have some classes only: those are the answers.

    Args:
        classes: int (examples,), the column of the right class of each example; or the numbers to
            predict, float (examples,).
    """
    if classes.dtype.kind == "f":
        return Targets(split, ((0,),), classes)
    present, renumbered = np.unique(classes, return_inverse=True)
    return Targets(split, tuple((int(column),) for column in present), renumbered)


def targets_of(
    split: str,
    rows: Sequence[tuple[str, str]],
    classes: Sequence[str],
    protocol: EvaluationProtocol,
    others: Mapping[str, Sequence[str]],
) -> Targets:
    """The targets of a split by its evaluation protocol.

    Args:
        split: its name.
        rows: path and label of each image, in the order of the logits.
        classes: names of train's classes, in the order of the logits' columns.
        protocol: how the split is judged.
        others: split -> paths of its images, in the order of its logits; needed for a protocol
            that is `of` another split.
    """
    column_of = {name: column for column, name in enumerate(classes)}
    if not protocol.answers:
        columns = np.array([column_of[label] for _, label in rows], dtype=np.int64)
        if split == "test":
            return among_all(split, columns, len(classes))
        return among_present(split, columns)
    index_of = {answer: index for index, answer in enumerate(protocol.answers)}
    groups = tuple(tuple(column_of[name] for name in group) for group in protocol.answers.values())
    right = [[index_of[name] for name in labels(label, protocol.answers)] for _, label in rows]
    most = max(map(len, right), default=1)
    padded = np.array([of_row + [-1] * (most - len(of_row)) for of_row in right], dtype=np.int64)
    logit_rows = None
    if protocol.of:
        row_of = {path: row for row, path in enumerate(others[protocol.of])}
        logit_rows = np.array([row_of[path] for path, _ in rows], dtype=np.int64)
    return Targets(protocol.of or split, groups, padded[:, 0] if most == 1 else padded, logit_rows)
