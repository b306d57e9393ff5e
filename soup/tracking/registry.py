"""The model registry: versions with lineage and digests, found by number or alias.

Aliases: `challenger` is the newest version, `champion` the one in use, `previous` the champion
before it; `soup.tracking.promotion` moves the last two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from soup.tracking.limits import shortened
from soup.tracking.server_check import TrackingError, database_of, require_usable
from soup.tracking.tracked import PREFIX

SIGNATURE = "signature"  # the tag of a signature of all files


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
        TrackingError: it does not answer, or is of a newer MLflow.
    """
    database = database_of(uri)
    if database is not None and not database.is_file():
        raise TrackingError(f"{uri}: there is no such database; set MLFLOW_TRACKING_URI")
    require_usable(uri)
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
