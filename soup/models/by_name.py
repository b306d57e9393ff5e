"""A model by a word: what a command line has for those who bring checkpoints of their own."""

from pathlib import Path

from soup.models.architecture import Architecture, ModelError
from soup.weights.checkpoint import Checkpoint

NOTE = "architecture"  # its name in the metadata of our weights files


def resolve_architecture(
    model: str | None, weights: Checkpoint, classes: tuple[str, ...]
) -> tuple[Architecture, bool]:
    """How to build and feed the model that weights belong to.

    Args:
        model: 'timm:NAME', 'open_clip:NAME', or a model.json; None if the weights say it
            themselves, in their metadata or by a model.json beside them.
        classes: names for a model that is only known by name.

    Returns:
        The architecture, and whether it brought class names of its own.

    Raises:
        ModelError: it is not known, or nothing says what the weights belong to.
    """
    if model is None:
        beside = Path(weights.path).parent / "model.json"
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
        from soup.config.params import Base
        from soup.models import timm_models

        made = timm_models.create(name, {}, len(classes))
        return timm_models.describe(Base(model=name), classes, made), False
    if library == "open_clip" and name:
        from soup.config.params import Base
        from soup.models import clip_models

        return clip_models.describe(Base(library="open_clip", model=name), classes), False
    if model.endswith(".json"):
        return Architecture.load(Path(model)), True
    raise ModelError(f"{model!r} is no model: give timm:NAME, open_clip:NAME or a model.json")
