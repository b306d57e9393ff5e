"""What counts as right: from a model's logits over train's classes to answers that can be judged.

An answer is a group of train's classes, and its logit the largest of theirs, as the published
evaluation of ObjectNet has it (`project_logits` in `datasets/objectnet.py` of
mlfoundations/model-soups); a group of one is the class itself, and ImageNet-R and -A are judged
among 200 of these. An example may have several right answers (ReaL).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from soup.data.shifts.protocol import EvaluationProtocol, labels
from soup.evaluation.metrics import Labels, LabelSets, Logits


@dataclass(frozen=True)
class Targets:
    """The right answers of a split's examples, and which answers there are.

    Attributes:
        of: the split whose logits are judged: the split itself, or another one that has its images.
        groups: the columns of the logits that mean each answer.
        labels: the right answer of each example, or several, -1 where there are fewer.
        rows: which of that split's examples, in order; None: all.
    """

    of: str
    groups: tuple[tuple[int, ...], ...]
    labels: Labels | LabelSets
    rows: NDArray[np.int64] | None = None

    @property
    def columns(self) -> NDArray[np.int64]:
        """Every column of the logits that means an answer, group by group."""
        return np.array([column for group in self.groups for column in group], dtype=np.int64)

    def project(self, logits: Logits) -> Float[np.ndarray, "examples answers"]:
        """Logits of the answers, from those of the classes on the split `of`."""
        raw = logits if self.rows is None else logits[self.rows]
        if len(self.columns) == len(self.groups):
            plain = np.array_equal(self.columns, np.arange(raw.shape[1]))
            return raw if plain else raw[:, self.columns]  # without a copy where none is needed
        starts = np.cumsum([0, *(len(group) for group in self.groups[:-1])])
        answers: NDArray[np.floating] = np.maximum.reduceat(raw[:, self.columns], starts, axis=1)
        return answers


def among_present(split: str, classes: Labels) -> Targets:
    """The plain key: an example has one class, and is answered among those that the split has."""
    present, renumbered = np.unique(classes, return_inverse=True)
    return Targets(split, tuple((int(one),) for one in present), renumbered)


def key(
    split: str,
    rows: Sequence[tuple[str, str]],
    classes: Sequence[str],
    protocol: EvaluationProtocol,
    others: Mapping[str, Sequence[str]],
) -> Targets:
    """A split's key by its protocol.

    Args:
        rows: path and label of each image, in the order of the logits.
        classes: train's, in the order of the logits' columns.
        others: split -> paths, in the order of its logits; for a protocol 'of' another split.
    """
    column = {name: place for place, name in enumerate(classes)}
    if not protocol.answers:
        return among_present(split, np.array([column[label] for _, label in rows], dtype=np.int64))
    number = {name: place for place, name in enumerate(protocol.answers)}
    groups = tuple(tuple(column[one] for one in group) for group in protocol.answers.values())
    right = [[number[one] for one in labels(label, protocol.answers)] for _, label in rows]
    most = max(map(len, right), default=1)
    padded = np.array([each + [-1] * (most - len(each)) for each in right], dtype=np.int64)
    where = None
    if protocol.of:
        place_of = {path: place for place, path in enumerate(others[protocol.of])}
        where = np.array([place_of[path] for path, _ in rows], dtype=np.int64)
    return Targets(protocol.of or split, groups, padded[:, 0] if most == 1 else padded, where)
