"""The architecture of a checkpoint, from the option `--model` or from the checkpoint."""

from pathlib import Path

from soup.config.params import Base
from soup.models.architecture import DESCRIPTION_FILE, Architecture, ModelError
from soup.weights.checkpoint import Checkpoint

NOTE = "architecture"  # key in the metadata of the weights files that this project writes


def resolve_architecture(
    model: str | None, weights: Checkpoint, classes: tuple[str, ...]
) -> tuple[Architecture, bool]:
    """The architecture of a checkpoint.

    Args:
        model: 'timm:NAME', 'open_clip:NAME' or the path of a model.json. If it is None, the
            architecture is read from the metadata of the weights or a model.json beside their file.
        weights: the checkpoint.
        classes: class names for a model that is given by name.

    Returns:
        The architecture, and whether its class names were stored with it (else: `classes`).

    Raises:
        ModelError: the model is unknown, or `model` is None and the architecture is not stored.
    """
    if model is None:
        beside = Path(weights.path).parent / DESCRIPTION_FILE
        if NOTE in weights.metadata:
            return Architecture.parse(weights.metadata[NOTE], weights.path), True
        if beside.is_file():
            return Architecture.load(beside), True
        raise ModelError(
            f"{weights.path} does not say what model it belongs to: "
            "give --model timm:NAME, open_clip:NAME or a model.json"
        )
    library, _, name = model.partition(":")
    if library == "timm" and name:
        from soup.models import timm_models

        try:
            built = timm_models.create(name, {}, len(classes))
        except ModelError as error:
            raise ModelError(str(error).replace("base.model", "--model")) from None
        return timm_models.describe(Base(model=name), classes, built), False
    if library == "open_clip" and name:
        from soup.models import clip_models

        return clip_models.describe(Base(library="open_clip", model=name), classes), False
    if model.endswith(".json"):
        return Architecture.load(Path(model)), True
    raise ModelError(f"{model!r} is no model: give timm:NAME, open_clip:NAME or a model.json")
