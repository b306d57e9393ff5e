"""A folder of weights in MLflow: a logged model of a run."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from soup.tracking.limits import model_name, referring, storable
from soup.tracking.tracked import PREFIX


def stored_model(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    folder: Path,
    tags: Mapping[str, str],
    step: int,
) -> str:
    """Store a folder as a logged model of a run; its id.

    An unfinished upload of the same run, left by an interruption, is deleted first.
    """
    query = f"source_run_id = '{run_id}'"
    for left in client.search_logged_models([experiment_id], query):
        client.delete_logged_model(left.model_id)
        if left.artifact_location.startswith("file:"):  # half of it, perhaps
            shutil.rmtree(unquote(urlparse(left.artifact_location).path), ignore_errors=True)
    texts = {key: storable(value) for key, value in tags.items()}
    short = referring(client, run_id, "tags", texts)
    model = client.create_logged_model(
        experiment_id,
        name=model_name(name),
        source_run_id=run_id,
        tags={PREFIX + key: text for key, text in short.items()},
    )
    model_id: str = model.model_id
    client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, models=[LoggedModelOutput(model_id, step)])
    return model_id
