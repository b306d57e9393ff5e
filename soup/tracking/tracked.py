"""A run as it was logged."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow.entities import Run

from soup.tracking.data_set import DataSet

PREFIX = "soup."
ERRORS = "heldout/errors"
COST = "heldout/cost"  # where models predict numbers: 1 less their score


@dataclass(frozen=True)
class Tracked:
    """A run as MLflow knows it.

    Attributes:
        run_id, name, status: MLflow's.
        model_id: the logged model that holds its weights, '' if there is none.
        tags: those with our prefix, without it.
        params, metrics: as logged, metrics with their last value.
        data_sets: names and digests of the data sets that are its inputs.
    """

    run_id: str
    name: str
    status: str
    model_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    data_sets: frozenset[tuple[str, str]] = frozenset()

    @property
    def cost(self) -> float:
        """The number of held-out errors, or 1 less the score of predicted numbers; else NaN."""
        return self.metrics.get(ERRORS, self.metrics.get(COST, math.nan))

    @property
    def settings(self) -> dict[str, str | float | int]:
        """The parameters, which MLflow keeps as text, as numbers where they are."""
        return {name: _number_or_text(text) for name, text in self.params.items()}

    def without(self, data_sets: Iterable[DataSet]) -> list[DataSet]:
        """The data sets that are not yet inputs of the run."""
        return [data_set for data_set in data_sets if data_set.key not in self.data_sets]


def tracked(run: Run) -> Tracked:
    """A run of MLflow as we read it."""
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return Tracked(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        model_id=tags.get(PREFIX + "model_id", ""),
        tags={k.removeprefix(PREFIX): v for k, v in tags.items() if k.startswith(PREFIX)},
        params=run.data.params,
        metrics=run.data.metrics,
        data_sets=frozenset((given.dataset.name, given.dataset.digest) for given in inputs),
    )


def _number_or_text(text: str) -> str | float | int:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
