"""The tags that a version gets after its registration, and the logged model behind a version."""

from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from soup.tracking.registry import Registry, Version
from soup.tracking.store import PREFIX


def annotate(registry: Registry, found: Version, tags: Mapping[str, str]) -> None:
    """Put tags on a version."""
    for key, value in tags.items():
        registry.client.set_model_version_tag(found.model, found.number, PREFIX + key, value)


def model_of(registry: Registry, found: Version) -> str:
    """The id of the logged model of a version; '' if the run is deleted or has no model."""
    try:
        run = registry.client.get_run(found.run_id)
    except MlflowException:
        return ""
    return str(run.data.tags.get(PREFIX + "model_id", ""))
