"""The model registry: versions with lineage and digests, found by number or alias, and fetched.

Aliases: `challenger` is the newest version, `champion` the one in use, `previous` the champion
before it; `soup.tracking.promotion` moves the last two.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from soup.files import BadJson, parse_json
from soup.models.allowed_files import (
    Refused,
    digests,
    require_allowed_files,
    verify_digests,
    verify_model,
)
from soup.tracking.limits import shortened
from soup.tracking.model_files import WEIGHTS_DIGEST
from soup.tracking.server_check import TrackingError, answers
from soup.tracking.store import PREFIX, Store
from soup.weights.shards import WEIGHTS_FILE

FILES = "files"  # the tag of every file's digest
SIGNATURE = "signature"  # the tag of a signature of all files
REGISTER = "delete the version and register the soup again"


class Registry(Protocol):
    """Where registered models are; a `Store` is one."""

    uri: str
    client: MlflowClient


@dataclass
class _Registry:
    uri: str
    client: MlflowClient


def registry_at(uri: str) -> Registry:
    """The registry of a server or a database.

    Raises:
        TrackingError: it does not answer.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise TrackingError(f"{uri}: there is no such database; set MLFLOW_TRACKING_URI")
    if uri.startswith(("http://", "https://")):
        answers(uri)
    return _Registry(uri, MlflowClient(tracking_uri=uri, registry_uri=uri))


@dataclass(frozen=True)
class Version:
    """A version of a registered model; `tags` are this project's, without their prefix."""

    model: str
    number: str
    run_id: str
    tags: Mapping[str, str]
    source: str = ""

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


def register(
    store: Store, model: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> Version:
    """Register a logged model as a version with the alias `challenger`.

    A version with the same digest is used again. The digests of the files become a tag, by which
    `fetch` checks them.

    Raises:
        TrackingError: the registry refuses, or what the store holds has another digest than
            `tags[WEIGHTS_DIGEST]`.
    """
    client = store.client
    try:
        # Not models:/<id>, which MLflow looks up in its process-wide store, not in ours.
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


def create(
    registry: Registry,
    model: str,
    source: str,
    run_id: str,
    model_id: str | None,
    tags: Mapping[str, str],
    description: str,
) -> Version:
    """Create a version of a registered model, which is created if it does not exist."""
    client = registry.client
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, description="Model soups, cooked by modelsoup.")
    created = client.create_model_version(
        model,
        source=source,
        run_id=run_id,
        model_id=model_id,
        tags={PREFIX + key: value for key, value in tags.items()},
        description=shortened(description),
    )
    return _version(created)


def of_digest(registry: Registry, model: str, digest: str) -> Version | None:
    """The version with this digest, or None."""
    query = f"name = '{model}' and tags.`{PREFIX}digest` = '{digest}'"
    matches = registry.client.search_model_versions(query)
    return _version(matches[0]) if matches else None


def version(registry: Registry, model: str, which: str) -> Version:
    """A version by its number or an alias.

    Raises:
        TrackingError: there is no such version (the message lists those that exist), or the
            registry does not answer.
    """
    client = registry.client
    try:
        if which.isdigit():
            return _version(client.get_model_version(model, which))
        return _version(client.get_model_version_by_alias(model, which))
    except MlflowException as error:
        known = _known(registry, model) or error
        raise TrackingError(f"{registry.uri} has no {model} version {which}: {known}") from None


def versions(registry: Registry, model: str) -> list[Version]:
    """All versions of a model, the newest first.

    Raises:
        TrackingError: the registry does not answer, or there is no such model.
    """
    all_versions: list[Version] = []
    query = f"name = '{model}'"
    token: str | None = ""
    try:
        while token is not None:
            page = registry.client.search_model_versions(query, page_token=token or None)
            all_versions += map(_version, page)
            token = page.token or None
    except MlflowException as error:
        raise TrackingError(f"{registry.uri}: {model} cannot be read: {error}") from None
    if not all_versions:
        raise TrackingError(f"{registry.uri}: there is no registered model {model}")
    return sorted(all_versions, key=lambda version: -int(version.number))


def aliases(registry: Registry, model: str) -> dict[str, str]:
    """Alias -> number of its version; empty if there is no such model.

    Raises:
        TrackingError: the registry does not answer.
    """
    try:
        if not registry.client.search_registered_models(f"name = '{model}'"):
            return {}
        # The answer to a search has no aliases.
        numbers = registry.client.get_registered_model(model).aliases
    except MlflowException as error:
        raise TrackingError(f"{registry.uri}: {model} cannot be read: {error}") from None
    return {alias: str(number) for alias, number in numbers.items()}


def champion(registry: Registry, model: str) -> Version | None:
    """The version with the alias `champion`, or None.

    Raises:
        TrackingError: the registry does not answer.
    """
    number = aliases(registry, model).get("champion")
    return version(registry, model, number) if number else None


def annotate(registry: Registry, found: Version, tags: Mapping[str, str]) -> None:
    """Put tags on a version that is registered already."""
    for key, value in tags.items():
        registry.client.set_model_version_tag(found.model, found.number, PREFIX + key, value)


def model_of(registry: Registry, found: Version) -> str:
    """The id of the logged model of a version; '' if the run is deleted or has no model."""
    try:
        run = registry.client.get_run(found.run_id)
    except MlflowException:
        return ""
    return str(run.data.tags.get(PREFIX + "model_id", ""))


def fetch(registry: Registry, found: Version, target: Path) -> Path:
    """Download a registered version; return the folder of `model.json` and `model.safetensors`.

    No file is read before all files are known to be of allowed kinds and as they were registered.

    Raises:
        TrackingError: the version cannot be downloaded.
        Refused: a file is of a kind that is not allowed, or is not what was registered.
    """
    whose = f"{found} of {registry.uri}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        try:
            _check(target, found, whose)
        except (Refused, OSError):  # a damaged cache; the registry has its own say below
            shutil.rmtree(target)
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            try:
                # Not models:/<name>, which MLflow looks up in its process-wide registry.
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


def _check(folder: Path, found: Version, whose: str) -> None:
    verify_model(folder, whose)
    if FILES in found.tags:  # those registered before there were digests have none
        verify_digests(folder, registered_files(found), whose)


def registered_files(found: Version) -> dict[str, str]:
    """Path -> SHA-256 of every file, by the version's tag; empty if it has no such tag.

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


def _stored(store: Store, model_id: str, source: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The digests of the files in the store, after a check that the weights are those cooked."""
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


def _version(found: ModelVersion) -> Version:
    tags = {k.removeprefix(PREFIX): v for k, v in found.tags.items() if k.startswith(PREFIX)}
    return Version(found.name, str(found.version), found.run_id or "", tags, found.source or "")


def _known(registry: Registry, model: str) -> str:
    try:
        numbers = [version.number for version in reversed(versions(registry, model))]
        return f"there are {', '.join([*numbers, *aliases(registry, model)])}"
    except TrackingError:
        pass
    try:
        names = [listed.name for listed in registry.client.search_registered_models()]
    except MlflowException:
        return ""
    return f"no such model; there are {', '.join(names)}" if names else "nothing is registered"
