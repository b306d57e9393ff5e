"""A data set in MLflow: an input of runs, and what the metrics of models were measured on."""

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.data.dataset_source import DatasetSource
from mlflow.data.huggingface_dataset_source import HuggingFaceDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric
from mlflow.types.schema import ColSpec, DataType, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

DIGEST = 36  # characters of a digest that MLflow's databases hold


@dataclass(frozen=True)
class HubSource:
    """A split of a data set of the Hugging Face hub."""

    dataset: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class DataSet:
    """The examples of one split.

    Attributes:
        name: shown by MLflow, such as 'pacs/test'.
        digest: SHA-256 of the split, of which MLflow keeps the first 36 characters.
        context: what runs use it for: 'training', 'heldout', 'test' or 'shift NAME'.
        metrics: how the names of the metrics that are measured on it begin: 'test', 'shift/NAME'.
        source: the path of a folder, archive or list, or a data set of the hub.
        inputs: names and kinds ('binary', 'string') of what a model gets of an example.
        profile: counts, for people.
    """

    name: str
    digest: str
    context: str
    metrics: str
    source: str | HubSource
    inputs: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Name and digest as MLflow keeps them, which tell data sets of an experiment apart."""
        return self.name, self.digest[:DIGEST]

    def as_input(self) -> DatasetInput:
        """The data set as an input of a run."""
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, self.context)]
        return DatasetInput(_Described(self)._to_mlflow_entity(), tags)


def measured(
    steps: Mapping[int, Mapping[str, float]], model_id: str, data_sets: Iterable[DataSet]
) -> list[Metric]:
    """Metrics by step as MLflow keeps them, each with the data set that its name begins with.

    NaN is a metric of the run alone: MLflow's databases would have it as 0 of the model, as if it
    made no errors.

    Args:
        model_id: the logged model that they are of; '' for none.
        data_sets: that they were measured on.
    """
    now = int(time.time() * 1000)
    keys = {data_set.metrics: data_set.key for data_set in data_sets}
    return [
        Metric(
            *(key, value, now, step),
            None if math.isnan(value) else model_id or None,
            *keys.get(_start(key), (None, None)),
        )
        for step, metrics in steps.items()
        for key, value in metrics.items()
    ]


def _start(metric: str) -> str:
    """'shift/NAME' of 'shift/NAME/accuracy'."""
    return metric.rpartition("/")[0]


class _Described(MetaDataset):
    """MLflow's object of a data set whose examples stay where they are."""

    def __init__(self, data_set: DataSet) -> None:
        columns = [ColSpec(DataType[kind], name) for name, kind in data_set.inputs.items()]
        columns.append(ColSpec(DataType.string, "label"))
        name, digest = data_set.key
        super().__init__(_source(data_set.source), name, digest, Schema(columns))
        self._profile = json.dumps({**data_set.profile, "sha256": data_set.digest})

    @property
    def profile(self) -> str:
        return self._profile

    def to_dict(self) -> dict[str, str]:
        return {**super().to_dict(), "profile": self._profile}


def _source(source: str | HubSource) -> DatasetSource:
    if isinstance(source, HubSource):
        return HuggingFaceDatasetSource(
            path=source.dataset,
            config_name=source.config,
            split=source.split,
            revision=source.revision,
        )
    return LocalArtifactDatasetSource(source)
