"""Predictions on test and shifts, stored with runs and found by the digest of their inputs."""

import tempfile
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from soup.evaluation import prediction_file
from soup.evaluation.metrics import Logits
from soup.files import of_file
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store
from soup.tracking.tracked import PREFIX, Tracked

FOLDER = "predictions"


def keep(store: Store, run_id: str, split: str, digest: str, logits: Logits) -> None:
    """Store predictions with a run.

    Args:
        split: the name of the images, such as 'test'.
        digest: of the weights, the images and their preprocessing.
        logits: (examples, classes).
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{split}.npz"
        prediction_file.write(file, logits)
        store.log_files(run_id, [file], FOLDER)
        tags = {f"{FOLDER}.{split}": digest, f"sha256.{FOLDER}.{split}": of_file(file)}
        store.tag(run_id, tags)  # last, so that a tag stands only for a complete file


def stored_by(run: Tracked) -> dict[str, str]:
    """Split -> digest of the predictions that a run stores, as it was read."""
    start = f"{FOLDER}."
    return {
        tag.removeprefix(start): digest for tag, digest in run.tags.items() if tag.startswith(start)
    }


def find(store: Store, split: str, digest: str) -> Logits | None:
    """The stored logits (examples, classes) of this digest, of any run; None if none has.

    Raises:
        TrackingError: the file cannot be read, or is not what was stored.
    """
    runs = store.client.search_runs(
        [store.experiment_id], f"tags.`{PREFIX}{FOLDER}.{split}` = '{digest}'", max_results=1
    )
    if not runs:
        return None
    run_id, name = runs[0].info.run_id, f"{FOLDER}/{split}.npz"
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = Path(
                download_artifacts(
                    run_id=run_id, artifact_path=name, dst_path=folder, tracking_uri=store.uri
                )
            )
        except (MlflowException, OSError) as error:
            raise TrackingError(f"{name} of run {run_id} cannot be read: {error}") from None
        if of_file(file) != runs[0].data.tags[f"{PREFIX}sha256.{FOLDER}.{split}"]:
            raise TrackingError(
                f"{name} of run {run_id} is not what was stored; "
                f"restore it, or delete the run's tag {PREFIX}{FOLDER}.{split}"
            )
        logits: Logits = prediction_file.read(file)
    return logits
