"""The model registry: versions with lineage, and the aliases `challenger` and `champion`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from soup.tracking.store import PREFIX, Store, TrackingError


@dataclass(frozen=True)
class Version:
    """A version of a registered model, with our tags without their prefix."""

    model: str
    number: str
    run_id: str
    tags: Mapping[str, str]


def save_pyfunc(source: Path, target: Path) -> None:
    """Write a model folder (`model.json`, `model.safetensors`) as an MLflow pyfunc.

    The pyfunc holds safetensors, JSON and this package's source; no pickle. It has no input
    schema, for it takes encoded images as well as arrays, which no schema can say.
    """
    from importlib.metadata import version

    from mlflow import pyfunc

    needed = ("torch", "torchvision", "timm", "open_clip_torch", "safetensors", "numpy", "pandas")
    also = ("pillow", "scipy", "pydantic", "pyyaml", "jaxtyping")
    pyfunc.save_model(
        str(target),
        loader_module="soup.serving",
        data_path=str(source),
        code_paths=[str(Path(__file__).parents[1])],
        pip_requirements=[f"{name}=={version(name)}" for name in (*needed, *also)],
    )


def register(
    store: Store,
    model: str,
    model_id: str,
    run_id: str,
    tags: Mapping[str, str],
    description: str,
) -> Version:
    """A version for a logged model, with the alias `challenger`; the one of its digest if there is.

    Raises:
        TrackingError: the registry refuses.
    """
    client = store.client
    try:
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model, description="Model soups, cooked by modelsoup.")
        query = f"name = '{model}' and tags.`{PREFIX}digest` = '{tags['digest']}'"
        found = client.search_model_versions(query)
        made = (
            found[0]
            if found
            else client.create_model_version(
                model,
                # Not models:/<id>, which MLflow looks up in its process-wide store, not in ours.
                source=client.get_logged_model(model_id).artifact_location,
                run_id=run_id,
                model_id=model_id,
                tags={PREFIX + key: value for key, value in tags.items()},
                description=description,
            )
        )
        client.set_registered_model_alias(model, "challenger", made.version)
    except MlflowException as error:
        raise TrackingError(f"the registry at {store.uri} refused {model}: {error}") from None
    return Version(model, str(made.version), run_id, tags)


def champion(store: Store, model: str) -> Version | None:
    """The version with the alias `champion`, if there is one."""
    try:
        found = store.client.get_model_version_by_alias(model, "champion")
    except MlflowException:
        return None
    tags = {k.removeprefix(PREFIX): v for k, v in found.tags.items() if k.startswith(PREFIX)}
    return Version(model, str(found.version), found.run_id or "", tags)


def move(store: Store, version: Version, reason: str) -> None:
    """Make a version the champion, and note why."""
    store.client.set_model_version_tag(version.model, version.number, PREFIX + "promoted", reason)
    store.client.set_registered_model_alias(version.model, "champion", version.number)


def fetch(store: Store, version: Version, target: Path) -> Path:
    """Download a registered version; the folder of its `model.json` and `model.safetensors`.

    Raises:
        TrackingError: it cannot be downloaded, or is not a model of this project.
    """
    try:
        download_artifacts(
            f"models:/{version.model}/{version.number}",
            dst_path=str(target),
            tracking_uri=store.uri,
            registry_uri=store.uri,
        )
    except (MlflowException, OSError) as error:
        name = f"{version.model} version {version.number}"
        raise TrackingError(f"{store.uri}: cannot download {name}: {error}") from None
    for description in target.rglob("model.json"):
        return description.parent
    raise TrackingError(f"{version.model} version {version.number} holds no model.json")
