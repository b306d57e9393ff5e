"""Registered versions by number or alias, and what is found out about them later."""

from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from soup.tracking.registry import Version
from soup.tracking.store import PREFIX, Store, TrackingError


def version(store: Store, model: str, which: str) -> Version:
    """A version of a registered model.

    Args:
        which: its number, or an alias.

    Raises:
        TrackingError: there is none; the message has those that there are.
    """
    client = store.client
    try:
        found = (
            client.get_model_version(model, which)
            if which.isdigit()
            else client.get_model_version_by_alias(model, which)
        )
    except MlflowException as error:
        raise TrackingError(
            f"{store.uri} has no {model} version {which}: {_known(store, model) or error}"
        ) from None
    tags = {k.removeprefix(PREFIX): v for k, v in found.tags.items() if k.startswith(PREFIX)}
    return Version(model, str(found.version), found.run_id or "", tags)


def annotate(store: Store, found: Version, tags: Mapping[str, str]) -> None:
    """Put tags on a version."""
    for key, value in tags.items():
        store.client.set_model_version_tag(found.model, found.number, PREFIX + key, value)


def model_of(store: Store, found: Version) -> str:
    """The logged model that a version was made of; '' if its run is gone or has none."""
    try:
        run = store.client.get_run(found.run_id)
    except MlflowException:
        return ""
    return str(run.data.tags.get(PREFIX + "model_id", ""))


def _known(store: Store, model: str) -> str:
    try:
        registered = store.client.get_registered_model(model)
        versions = store.client.search_model_versions(f"name = '{model}'")
    except MlflowException:
        names = [each.name for each in store.client.search_registered_models()]
        return f"no such model; there are {', '.join(names)}" if names else "nothing is registered"
    numbers = ", ".join(sorted((str(each.version) for each in versions), key=int))
    return f"there are {', '.join([numbers, *registered.aliases])}"
