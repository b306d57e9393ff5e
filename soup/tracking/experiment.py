"""An experiment of MLflow: found or made; its addresses."""

import json
import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage

from soup.errors import without_password
from soup.tracking.limits import LONGEST_LOCATION
from soup.tracking.server_check import (
    TrackingError,
    away,
    bring_database_up_to_date,
    database_of,
    is_server,
)

NOTE = """\
Model soups. A sweep is a run, and so is each of its fine-tunes, below it. The run of a soup has its
ingredients as inputs, and says in its description what went into it and what it gains over the best
single model. Soups are chosen by `heldout/...` alone; `test/...` and `shift/...` are looked at when
a soup is made.
"""
VIEW = "modelsoup"  # a view of MLflow's UI, which the tag of its name defines


def tags_of(score: str) -> dict[str, str]:
    """The tags of an experiment, which choose what MLflow's UI shows first.

    Args:
        score: by which the experiment's models are ordered.
    """
    columns = [f"metrics.`{split}/{score}`" for split in ("heldout", "test", "shifts")]
    state = {"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns}
    view = {"name": VIEW, "createdAt": 0, "state": json.dumps(state)}
    return {
        # The UI opens on runs, not on traces of language models.
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.note.content": NOTE,
    }


def default_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or a database in the project folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlflow.db"


def link(uri: str, path: str) -> str:
    """An address in MLflow's UI, without a password; '' for a store without one.

    Without the query the UI opens in its mode for language models, where sweeps are hard to find.
    """
    address = without_password(uri.rstrip("/"))
    return f"{address}/#/{path}?workflowType=machine_learning" if is_server(uri) else ""


def page(uri: str, experiment_id: str) -> str:
    """The page of an experiment's runs, with the columns of `VIEW`; '' for a store without one."""
    address = link(uri, f"experiments/{experiment_id}/runs")
    return f"{address}&viewStateShareKey={VIEW}" if address else ""


def opened(
    client: MlflowClient, uri: str, name: str, artifacts: Path, score: str = "accuracy"
) -> str:
    """The id of the experiment of this name, which is made if there is none.

    Args:
        score: by which the experiment's models are ordered.

    Raises:
        TrackingError: it was deleted, or its artifacts have too long an address.
    """
    found, tags = client.get_experiment_by_name(name), tags_of(score)
    if found is not None:
        require_not_deleted(found, uri)
        for key in tags.keys() - found.tags.keys():  # made by an earlier version
            client.set_experiment_tag(found.experiment_id, key, tags[key])
        return str(found.experiment_id)
    location = None if is_server(uri) else (artifacts.resolve() / name).as_uri()
    if location and not uri.startswith("sqlite") and len(location) > LONGEST_LOCATION:
        raise TrackingError(
            f"{uri} holds no address of artifacts as long as {location}: choose a shorter name of "
            "the experiment, or a project folder with a shorter path"
        )
    return str(client.create_experiment(name, location, tags))


def existing(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment of this name, which is not made if there is none.

    Raises:
        TrackingError: there is none, or it was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        raise TrackingError(
            f"MLflow at {uri} has no experiment {name}: set MLFLOW_TRACKING_URI to where it is"
        )
    require_not_deleted(found, uri)
    return str(found.experiment_id)


def require_experiment(uri: str, name: str) -> None:
    """Check, before a stage that needs no MLflow, that the experiment it works for is not deleted.

    Raises:
        TrackingError: it is.
    """
    database = database_of(uri)
    if away(uri) or (database is not None and not database.is_file()):
        return
    bring_database_up_to_date(uri)
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(name)
    if experiment is not None:
        require_not_deleted(experiment, uri)


def require_not_deleted(experiment: Experiment, uri: str) -> None:
    """Check that an experiment was not deleted, in MLflow's page for example.

    Raises:
        TrackingError: it was; the message says how it is restored.
    """
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise TrackingError(
            f"experiment {experiment.name} was deleted in MLflow at {uri}; restore it with "
            f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore -x {experiment.experiment_id}, "
            "or choose another name for it (experiment in params.yaml)"
        )
