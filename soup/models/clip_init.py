"""The initialisation from open_clip: a CLIP, whose text tower makes the zero-shot head."""

from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.building import build, load_weights, mismatch_message
from soup.models.clip_models import ClipClassifier, arguments, describe
from soup.models.clip_towers import SCHEMAS, registered_name
from soup.models.conversion.read_weights import weights_of
from soup.models.download_errors import cannot_fetch
from soup.models.zero_shot import class_names, require_text_tower, zero_shot
from soup.weights import Weights


def make_base(base: Base, classes: tuple[str, ...]) -> tuple[Architecture, nn.Module, Weights]:
    """The initialisation, and the zero-shot head that its text tower made before it was dropped.

    With head: keep, a classifier that was made before (its own format, or of the published pool):
    it has no text tower, and so no zero-shot head.

    Raises:
        ModelError: an unknown model or tag, weights that cannot be fetched or do not fit, a package
            that the text tower needs, or class names that do not match the class folders.
    """
    if base.head == "keep":
        architecture = describe(base, classes)
        model = build(architecture)
        if not Path(base.weights).exists():
            raise ModelError(f"base.weights: {base.weights} is not a file, which head: keep needs")
        load_weights(model, weights_of(base.weights), base.model)
        return architecture, model.eval(), {}
    names = class_names(base, classes)
    whole = _create(base)
    architecture = describe(base, classes, whole)
    model = build(architecture)
    assert isinstance(model, ClipClassifier)
    model.visual.load_state_dict(whole.visual.state_dict())
    weight = zero_shot(whole, base, names)
    if base.head == "zeroshot":
        model.head.weight.data.copy_(weight)
    made = {"head.weight": weight, "head.bias": torch.zeros(len(classes))}
    return architecture, model.eval(), made


def _create(base: Base) -> Any:
    """The whole model, with its weights."""
    name, kwargs = registered_name(base.model), arguments(base)
    file = Path(base.weights).is_file()
    brings = name.startswith(SCHEMAS)  # its own weights
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not file and not brings and base.weights not in tags:
        raise ModelError(
            f"base.weights: {base.weights!r} is neither a file nor a pretrained tag of "
            f"{base.model}; its tags: {', '.join(tags) or 'none'}"
        )
    require_text_tower(base)
    try:
        return open_clip.create_model(name, pretrained=None if brings else base.weights, **kwargs)
    except Exception as error:  # open_clip and the hub raise many kinds; told apart by their cause
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
    """What keeps a file's tensors from being those of the model; '' if nothing is seen."""
    own = open_clip.create_model(
        registered_name(base.model), pretrained_text=False, **arguments(base)
    )
    return mismatch_message(own.state_dict(), weights_of(base.weights), base.model)
