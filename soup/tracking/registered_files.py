"""Register a model with the digests of its files, and check them when it is downloaded."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from soup.files import BadJson, parse_json
from soup.models.allowed_files import (
    Refused,
    digests,
    require_allowed_files,
    verify_digests,
    verify_model,
)
from soup.tracking.model_files import WEIGHTS_DIGEST
from soup.tracking.registry import Registry, Version, annotate, create, of_digest, version
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store
from soup.tracking.tracked import PREFIX
from soup.weights.shards import WEIGHTS_FILE

FILES = "files"  # the tag with the digests of all files
REGISTER = "delete the version and register the soup again"


def register(
    store: Store, model: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> Version:
    """Register a logged model as a version with the alias `challenger`.

    If a version has the same digest, that version is used. The digests of the files become a tag,
    with which `fetch` compares the files.

    Raises:
        TrackingError: the registry refuses, or the digest of the stored weights is not
            `tags[WEIGHTS_DIGEST]`.
    """
    client = store.client
    try:
        # Not models:/<id>: MLflow would look it up in its process-wide store instead of ours.
        source = client.get_logged_model(model_id).artifact_location
        found = of_digest(store, model, tags["digest"])
        if found is None or FILES not in found.tags:
            tags = {**tags, FILES: json.dumps(_stored(store, model_id, source, tags))}
        if found is None:
            found = create(store, model, source, run_id, model_id, tags, description)
        else:
            annotate(store, found, tags)
        client.set_registered_model_alias(model, "challenger", found.number)
    except MlflowException as error:
        raise TrackingError(f"the registry at {store.uri} refused {model}: {error}") from None
    return version(store, model, found.number)


def fetch(registry: Registry, found: Version, target: Path) -> Path:
    """Download a registered version; return the folder of `model.json` and `model.safetensors`.

    All files are checked first: they must be of allowed kinds, and as they were registered.

    Raises:
        TrackingError: the version cannot be downloaded.
        Refused: a file is of a kind that is not allowed, or differs from what was registered.
    """
    whose = f"{found} of {registry.uri}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        try:
            _check(target, found, whose)
        except (Refused, OSError):  # a damaged cache; the download below is checked again
            shutil.rmtree(target)
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            try:
                # Not models:/<name>: MLflow would look it up in its process-wide registry.
                client, number = registry.client, found.number
                source = client.get_model_version_download_uri(found.model, number)
                aside = Path(download_artifacts(source, dst_path=folder, tracking_uri=registry.uri))
            except (MlflowException, OSError) as error:
                raise TrackingError(f"cannot download {whose}: {error}") from None
            _check(aside, found, whose)
            aside.replace(target)
    descriptions = [*target.glob("data/*/model.json")]
    if not descriptions:
        raise TrackingError(f"{whose} holds no model.json")
    return descriptions[0].parent


def registered_files(found: Version) -> dict[str, str]:
    """Path -> SHA-256 of every file, from the version's tag; empty if there is no such tag.

    Raises:
        Refused: the tag is damaged.
    """
    try:
        files = parse_json(found.tags.get(FILES, "{}"), "it")
    except BadJson as error:
        raise Refused(f"{found}: its tag {PREFIX}{FILES} is damaged: {error}; {REGISTER}") from None
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise Refused(f"{found}: its tag {PREFIX}{FILES} is no table of digests; {REGISTER}")
    return files


def _check(folder: Path, found: Version, whose: str) -> None:
    verify_model(folder, whose)
    if FILES in found.tags:  # versions of earlier releases have no digests
        verify_digests(folder, registered_files(found), whose)


def _stored(store: Store, model_id: str, source: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The digests of the stored files; the weights must be those that were cooked."""
    parsed = urlparse(source)
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(unquote(parsed.path))
        if parsed.scheme != "file":
            folder = Path(download_artifacts(source, dst_path=aside, tracking_uri=store.uri))
        whose = f"model {model_id} of {store.uri}"
        require_allowed_files(folder, whose)
        found = digests(folder)
    weights = [digest for path, digest in found.items() if path.endswith(WEIGHTS_FILE)]
    if weights != [tags[WEIGHTS_DIGEST]]:
        raise TrackingError(
            f"{whose} does not hold the weights that were cooked; "
            "restore them, or delete its run and run cook again"
        )
    return found
