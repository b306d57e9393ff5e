"""The files of logged models on this machine: where they are, or downloaded; what was stored."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.artifacts import download_artifacts

from soup.provenance import of_file
from soup.tracking import bulk
from soup.tracking.store import Store, TrackingError


def folders(store: Store, digests: Mapping[str, Mapping[str, str]], cache: Path) -> dict[str, Path]:
    """Folders of logged models by id; what a server keeps is downloaded once, into the cache.

    Args:
        digests: model id -> file name -> SHA-256 that it must have.

    Raises:
        TrackingError: a model or a file is missing, or is not what was stored.
    """
    found = bulk.models(store.client, store.experiment_id, [*digests])
    locations = {model.model_id: model.artifact_location for model in found}
    missing = [model_id for model_id in digests if model_id not in locations]
    if missing:
        raise TrackingError(f"MLflow at {store.uri} has no model {', '.join(missing)}")

    def folder(model_id: str) -> Path:
        return _folder(store, model_id, locations[model_id], cache, digests[model_id])

    with ThreadPoolExecutor(bulk.AT_ONCE) as threads:
        return dict(zip(digests, threads.map(folder, digests), strict=True))


def _folder(
    store: Store, model_id: str, location: str, cache: Path, digests: Mapping[str, str]
) -> Path:
    parsed = urlparse(location)
    if parsed.scheme == "file":
        folder = Path(unquote(parsed.path))
    else:
        folder = cache / model_id
        if not all((folder / name).is_file() for name in digests):
            download_artifacts(f"models:/{model_id}", dst_path=str(folder), tracking_uri=store.uri)
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file():
            raise TrackingError(f"{file} is missing; it held the weights of model {model_id}")
        if of_file(file) != digest:
            raise TrackingError(
                f"{file} is not what was stored: its SHA-256 is not {digest}; "
                "restore it, or delete its run and run finetune again"
            )
    return folder
