"""The initialisation from open_clip: the image tower of a CLIP and a zero-shot or new head."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.building import build, load_weights, mismatch_message
from soup.models.clip_folder import remove, save_whole
from soup.models.clip_models import ClipClassifier, arguments, describe, head
from soup.models.clip_towers import SCHEMAS, registered_name
from soup.models.conversion.read_weights import weights_of
from soup.models.download_errors import cannot_fetch
from soup.models.kept_head import as_told, told_by
from soup.models.zero_shot import class_names, require_text_tower, zero_shot
from soup.weights import Weights


def make_base(
    base: Base,
    classes: tuple[str, ...],
    folder: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Architecture, nn.Module, Weights]:
    """The initialisation of all fine-tunes, and the zero-shot head.

    The text tower computes the zero-shot head from the class names and is then dropped. With
    `head: keep` the weights are those of a classifier (written by this pipeline, or of the
    published pool), which has no text tower and therefore no zero-shot head; classes and input are
    those that the file tells.

    Args:
        base: the parameters of the initialisation.
        classes: class names; the position of a name is its label.
        folder: that the whole CLIP is written into, as open_clip opens it; None for nowhere.
        say: is told why it cannot be, in a sentence.

    Returns:
        The architecture, the model in evaluation mode, and the weights of the zero-shot head under
        their names in the model (empty with `head: keep`).

    Raises:
        ModelError: the model or tag is unknown, the weights cannot be fetched or do not fit, a
            package of the text tower is missing, the class names do not match the classes, or a
            head that is kept has other classes.
    """
    require(base)
    if folder is not None:
        remove(folder)
    if base.head == "keep":
        told = told_by(base.weights)
        sized = base
        if base.image_size is None and "force_image_size" not in base.kwargs:
            sized = base.model_copy(update={"image_size": told.get("image_size")})
        architecture = describe(sized, classes)
        model = build(architecture)
        load_weights(model, weights_of(base.weights), base.model)
        architecture = as_told(architecture, head(model), told, base)
        if folder is not None:
            say(f"{base.weights} has no text tower, so open_clip cannot open folders of its models")
        return architecture, model.eval(), {}
    names = class_names(base, classes)
    whole = _create(base)
    architecture = describe(base, classes, whole)
    model = build(architecture)
    assert isinstance(model, ClipClassifier)
    model.visual.load_state_dict(whole.visual.state_dict())
    if folder is not None and (reason := save_whole(whole, base.model, architecture, folder)):
        say(f"open_clip cannot open folders of {base.model}: {reason}")
    weight = zero_shot(whole, base, names)
    if base.head == "zeroshot":
        model.head.weight.data.copy_(weight)
    zero_shot_head = {"head.weight": weight, "head.bias": torch.zeros(len(classes))}
    return architecture, model.eval(), zero_shot_head


def require(base: Base) -> None:
    """Check that open_clip knows the model, and that there are such weights; nothing is fetched.

    Raises:
        ModelError: the model or tag is unknown, the file of weights is missing, or a package of the
            text tower is.
    """
    name = registered_name(base.model)
    if base.head == "keep":
        if not Path(base.weights).exists():
            raise ModelError(f"base.weights: {base.weights} is not a file, which head: keep needs")
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    # A schema in the name says where the weights are.
    known = name.startswith(SCHEMAS) or base.weights in tags
    if not known and not Path(base.weights).is_file():
        raise ModelError(
            f"base.weights: {base.weights!r} is neither a file nor a pretrained tag of "
            f"{base.model}; its tags: {', '.join(tags) or 'none'}"
        )
    require_text_tower(base)


def _create(base: Base) -> Any:
    """The whole CLIP model, with its weights."""
    name, kwargs = registered_name(base.model), arguments(base)
    file, has_weights = Path(base.weights).is_file(), name.startswith(SCHEMAS)
    try:
        return open_clip.create_model(
            name, pretrained=None if has_weights else base.weights, **kwargs
        )
    except Exception as error:  # open_clip and the hub raise errors of many types
        if file:
            problems = _misfits(base)
            if problems:
                raise ModelError(f"base.weights: {base.weights}: {problems}") from None
        elif "download" in str(error) or "Failed" in str(error):
            where = open_clip.get_pretrained_cfg(name, base.weights) or {"hf_hub": name + "/"}
            raise cannot_fetch(base.model, base.weights, where, error) from None
        raise ModelError(
            f"open_clip cannot make {base.model} with weights {base.weights!r} and "
            f"{dict(kwargs)}: {type(error).__name__}: {error}"
        ) from error


def _misfits(base: Base) -> str:
    """Why the tensors of the file base.weights do not fit the model; '' if they fit."""
    model = open_clip.create_model(
        registered_name(base.model), pretrained_text=False, **arguments(base)
    )
    return mismatch_message(model.state_dict(), weights_of(base.weights), base.model)
