"""A part of a split's examples, spread evenly over its classes, and the right answers to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soup.evaluation.examples import Examples
from soup.evaluation.targets import Targets
from soup.files import of_value

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """Some of the examples of a set, as `soup.evaluation.examples.Examples`.

    Attributes:
        whole: all examples.
        rows: ascending indices of those that are used.
    """

    whole: Examples
    rows: Rows

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.whole.labels[self.rows]

    @property
    def digest(self) -> str:
        return of_value([self.whole.digest, self.rows.tolist()])

    def __len__(self) -> int:
        return len(self.rows)

    def groups(self, indices: Rows, size: int) -> list[Rows] | None:
        """As of `Examples`, by the indices of the subset."""
        groups = self.whole.groups(self.rows[indices], size)
        if groups is None:
            return None
        return [np.searchsorted(self.rows, group) for group in groups]

    def batches(self, indices: Rows, size: int, device: torch.device) -> Iterator[Tensor]:
        return self.whole.batches(self.rows[indices], size, device)

    def compact(self, indices: Rows) -> Tensor:
        return self.whole.compact(self.rows[indices])

    def prepare(self, compact: Tensor, /) -> Tensor:
        return self.whole.prepare(compact)


def spread(labels: NDArray[np.int64], most: int) -> Rows:
    """Ascending indices of at most so many examples, as even over the labels as they are."""
    by_label = np.argsort(labels, kind="stable")
    chosen = np.linspace(0, len(labels) - 1, min(most, len(labels))).round().astype(np.int64)
    return np.sort(by_label[chosen])


def targets_of_rows(target: Targets, rows: Rows) -> Targets:
    """The right answers to the examples of a subset, from those to all."""
    scored = np.arange(len(target.labels)) if target.rows is None else target.rows
    kept = np.isin(scored, rows)
    places = None if target.rows is None else np.searchsorted(rows, scored[kept])
    return replace(target, labels=target.labels[kept], rows=places)


def rows_of(sets: Mapping[str, Examples], most: int) -> dict[str, Rows]:
    """The examples that are used of each split that has more than so many."""
    return {
        split: spread(examples.labels, most)
        for split, examples in sets.items()
        if len(examples) > most
    }


def subsets(
    sets: Mapping[str, Examples], targets: Mapping[str, Targets], rows: Mapping[str, Rows]
) -> tuple[dict[str, Examples], dict[str, Targets]]:
    """The splits with the examples that are used of them, and the right answers to these."""
    used = {
        split: Subset(examples, rows[split]) if split in rows else examples
        for split, examples in sets.items()
    }
    answers = {
        split: targets_of_rows(target, rows[target.of]) if target.of in rows else target
        for split, target in targets.items()
    }
    return used, answers
