"""The methods of the paper on any subset of a sweep's fine-tunes: best single, soups, ensembles."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from soup.evaluation.metrics import Correct, Logits, correct
from soup.studies.bench import SHIFTS, Bench
from soup.studies.greedy import greedy
from soup.studies.point import Point, mean, only

METHODS = ("best single", "uniform", "greedy", "ensemble", "greedy ensemble")
Names = tuple[str, ...]


class SubsetMethods:
    """Chooses models on held-out alone, and keeps what it decided and counted.

    The errors of an average are kept by the bench, so that no average is computed twice: the
    subsets of a study share most of theirs.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._rank = {name: rank for rank, name in enumerate(bench.ranked)}
        self._right: dict[Point, int] = {}

    def ranked(self, names: Sequence[str]) -> Names:
        """The names by held-out score, the best first."""
        return tuple(sorted(names, key=self._rank.__getitem__))

    def members(self, method: str, names: Sequence[str]) -> Names:
        """The models that a method uses, of these models."""
        ranked = self.ranked(names)
        choices: dict[str, Callable[[Names], Names]] = {
            "best single": lambda ranked: ranked[:1],
            "uniform": lambda ranked: ranked,
            "greedy": self._greedy,
            "ensemble": lambda ranked: ranked,
            "greedy ensemble": self._greedy_ensemble,
        }
        return choices[method](ranked)

    def accuracy(self, method: str, names: Sequence[str], splits: Sequence[str]) -> list[float]:
        """The accuracy of a method, given these models, on each split ("shifts" is their mean)."""
        members = self.members(method, names)
        if "ensemble" in method and len(members) > 1:
            return self.of_ensemble(members, splits)
        return self.of_average(members, splits)

    def of_average(self, members: Names, splits: Sequence[str]) -> list[float]:
        """The accuracy of the average of models on each split."""
        if len(members) == 1:
            return [self._bench.accuracy(only(members[0]), split) for split in splits]
        parts = {split: self._parts(split) for split in splits}
        wanted = [*dict.fromkeys(part for names in parts.values() for part in names)]
        counted = self._bench.figures(mean(members), wanted)
        accuracy = {part: 1 - of["errors"] / of["n"] for part, of in counted.items()}
        return [float(np.mean([accuracy[part] for part in parts[split]])) for split in splits]

    def of_ensemble(self, members: Names, splits: Sequence[str]) -> list[float]:
        """The accuracy of the ensemble of models on each split."""

        def compute() -> list[float]:
            return [float(np.mean([r.mean() for r in self.voted(members, s)])) for s in splits]

        return self._kept("ensemble", members, splits, compute)

    def growing_ensembles(self, order: Names, splits: Sequence[str]) -> list[list[float]]:
        """For each number of models, of the first of the order, the ensemble's accuracies.

        The logits of a model are read once, and added to a sum.
        """

        def compute() -> list[list[float]]:
            of_part = {}
            for part in dict.fromkeys(p for split in splits for p in self._parts(split)):
                labels, curve = self._bench.targets[part].labels, []
                total: Any = 0.0
                for name in order:
                    total = total + self._bench.logits(only(name), part).astype(np.float64)
                    curve.append(float(correct(np.asarray(total), labels).mean()))
                of_part[part] = curve
            return [
                [float(np.mean([of_part[part][place] for part in self._parts(s)])) for s in splits]
                for place in range(len(order))
            ]

        return self._kept("growing ensembles", order, splits, compute)

    def _kept(
        self, what: str, names: Names, splits: Sequence[str], compute: Callable[[], Any]
    ) -> Any:
        parts = [part for split in splits for part in self._parts(split)]
        return self._bench.value([what, *splits], [only(name) for name in names], parts, compute)

    def rights(self, method: str, names: Sequence[str], split: str) -> list[Correct]:
        """Which examples a method classifies correctly: of each shift for "shifts"."""
        members = self.members(method, names)
        if "ensemble" in method:
            return self.voted(members, split)
        return self._bench.rights(mean(members), split)

    def voted(self, members: Names, split: str) -> list[Correct]:
        """Which examples the mean of the models' logits classifies correctly."""
        return self._bench.ensemble_rights(dict.fromkeys(members, 1 / len(members)), split)

    def _parts(self, split: str) -> Sequence[str]:
        return self._bench.shifts if split == SHIFTS else (split,)

    def _greedy(self, ranked: Names) -> Names:
        """Recipe 1 of the paper; the first model counts as the pipeline counted it."""
        return tuple(greedy(ranked, lambda names: self._right_heldout(mean(names))))

    def _right_heldout(self, point: Point) -> int:
        if point not in self._right:
            if point.model is not None:
                right = int(self._bench.score(point, "heldout").right.sum())
            else:
                counted = self._bench.figures(point, ["heldout"])["heldout"]
                right = int(counted["n"] - counted["errors"])
            self._right[point] = right
        return self._right[point]

    def _greedy_ensemble(self, ranked: Names) -> Names:
        """The same loop over means of held-out logits, which are kept already."""
        kept: Names = ()
        best = -1
        total: Logits | None = None
        labels = self._bench.targets["heldout"].labels
        for name in ranked:
            logits = self._bench.logits(only(name), "heldout").astype(np.float64)
            candidate = logits if total is None else total + logits
            right = int(correct(candidate, labels).sum())
            if right >= best:
                kept, best, total = (*kept, name), right, candidate
        return kept
