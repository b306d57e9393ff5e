"""The files of models: written as MLflow wants them; downloaded if need be, checked by digest."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.artifacts import download_artifacts
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Map, Schema

from soup.known_digests import sha256
from soup.models import DESCRIPTION_FILE, Architecture
from soup.models.allowed_files import DESCRIPTION, LOADER, digests_to_state
from soup.tracking import bulk_queries
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store
from soup.weights.shards import WEIGHTS_FILE

WEIGHTS_DIGEST = f"sha256.{WEIGHTS_FILE}"  # the tag of a run


class Damaged(TrackingError):
    """Files of logged models are missing or changed; the message names them.

    Attributes:
        models: model id -> what is wrong.
    """

    def __init__(self, models: Mapping[str, str]) -> None:
        super().__init__(
            "; ".join(f"{what} (model {model_id})" for model_id, what in models.items())
        )
        self.models = dict(models)


def save_pyfunc(source: Path, target: Path, weights_digest: str = "") -> None:
    """Write a model folder (`model.json`, `model.safetensors`) as an MLflow pyfunc.

    The pyfunc holds safetensors and JSON: no pickle, and no code, because what loads it is the
    installed package. MLmodel states the digests of the other files, by which `soup.serving` checks
    them however the model is loaded. The requirements name all that the package needs to serve the
    model, but not the package, which is on no index. The signature says what the model takes and
    answers.

    Args:
        weights_digest: the SHA-256 of the weights, if it is known.
    """
    from importlib.metadata import version

    from mlflow import pyfunc
    from mlflow.models import Model

    architecture = Architecture.load(source / DESCRIPTION_FILE)
    needed = ("torch", "torchvision", "timm", "open_clip_torch", "safetensors", "numpy", "pandas")
    also = ["fsspec", "pillow", "scipy", "pydantic", "pyyaml", "jaxtyping"]
    if architecture.of_text:
        also += ["transformers", "tokenizers"]
    with _requirements_unchecked():
        pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(source),
            pip_requirements=[f"{name}=={version(name)}" for name in (*needed, *also)],
        )
    description = Model.load(str(target))
    weights = f"data/{source.name}/{WEIGHTS_FILE}"
    description.signature = signature_of(architecture)
    description.metadata = digests_to_state(target, {weights: weights_digest})
    description.save(str(target / DESCRIPTION))


def signature_of(architecture: Architecture) -> ModelSignature:
    """What a model takes and answers, as MLflow shows it.

    An image is an encoded file or an array of pixels, which only the type Any can say, and a
    request may be a table, a list or an array. So the signature is marked as one of type hints,
    with which MLflow passes every input on, to be checked by `soup.serving`: it would refuse lists.
    """
    text, number = DataType.string, DataType.double
    if architecture.of_text:
        inputs = [ColSpec(text, "text"), ColSpec(text, "text_pair", required=False)]
    else:
        inputs = [ColSpec(AnyType(), "image")]
    # An example that cannot be used has an error in the place of the others.
    answers = {"label": text, "probability": number, "probabilities": Map(number)}
    if architecture.predicts_numbers:
        answers = {"number": number}
    outputs = [ColSpec(kind, name, False) for name, kind in {**answers, "error": text}.items()]
    signature = ModelSignature(Schema(inputs), Schema(outputs))
    signature._is_signature_from_type_hint = True
    return signature


@contextmanager
def _requirements_unchecked() -> Iterator[None]:
    """Spare MLflow the comparison of requirements with what is installed, which they are made from.

    It lists the files of every installed package, which takes as long as the rest of `cook`.
    """
    from mlflow.utils import environment

    plain = environment.warn_dependency_requirement_mismatches
    environment.warn_dependency_requirement_mismatches = lambda _: None
    try:
        yield
    finally:
        environment.warn_dependency_requirement_mismatches = plain


def folders(store: Store, digests: Mapping[str, Mapping[str, str]], cache: Path) -> dict[str, Path]:
    """Folders of logged models by id; models on a server are downloaded once, into the cache.

    Args:
        store: the experiment that has the models.
        digests: model id -> file name -> SHA-256 that it must have.
        cache: folder for downloads.

    Raises:
        TrackingError: a model is missing.
        Damaged: files are missing, or are not what was stored.
    """
    logged = bulk_queries.models(store.client, store.experiment_id, [*digests])
    locations = {model.model_id: model.artifact_location for model in logged}
    missing = [model_id for model_id in digests if model_id not in locations]
    if missing:
        raise TrackingError(f"MLflow at {store.uri} has no model {', '.join(missing)}")

    def checked(model_id: str) -> tuple[Path, str]:
        return _checked(store, model_id, locations[model_id], cache, digests[model_id])

    with ThreadPoolExecutor(bulk_queries.AT_ONCE) as threads:
        checks = dict(zip(digests, threads.map(checked, digests), strict=True))
    damaged = {model_id: damage for model_id, (_, damage) in checks.items() if damage}
    if damaged:
        raise Damaged(damaged)
    return {model_id: folder for model_id, (folder, _) in checks.items()}


def _checked(
    store: Store, model_id: str, location: str, cache: Path, digests: Mapping[str, str]
) -> tuple[Path, str]:
    """A model's folder, and what is wrong with it."""
    parsed = urlparse(location)
    if parsed.scheme == "file":
        folder = Path(unquote(parsed.path))
        return folder, _damage(folder, digests)
    folder = cache / model_id
    damage = _damage(folder, digests)
    if damage or not folder.is_dir():  # not there yet, or a copy that was cut short
        download_artifacts(f"models:/{model_id}", dst_path=str(folder), tracking_uri=store.uri)
        damage = _damage(folder, digests)
    return folder, damage


def _damage(folder: Path, digests: Mapping[str, str]) -> str:
    """Which file is not as it was stored, and how; '' if all are."""
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file():
            return f"{file} is missing"
        if sha256(file) != digest:
            return f"{file} is not what was stored: its SHA-256 is not {digest}"
    return ""
