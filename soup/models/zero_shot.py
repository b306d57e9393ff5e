"""Heads made of words: a zero-shot classifier from class names and prompt templates.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021:
the prompts' embeddings are normalised, averaged and normalised again. As in the code published with
model soups, the logit scale goes into the head's weight, and its bias is zero.
"""

import importlib.util
import re
from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor

from soup.config.params import Base
from soup.models.architecture import ModelError
from soup.models.clip_towers import registered_name, text_config

Template = Callable[[str], str]
# Of open_clip, as published with CLIP; the prompt alone that CLIP's authors name first.
TEMPLATES: dict[str, Sequence[Template]] = {
    "openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
    "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    "photo": [lambda name: f"a photo of a {name}."],
}
WNID = re.compile(r"n\d{8}")


def class_names(base: Base, classes: Sequence[str]) -> list[str]:
    """What the classes are called in prompts.

    Those given; for folders named by WordNet ids, ImageNet's names as CLIP's authors cleaned them;
    else the folders' names, an underscore read as a space.

    Raises:
        ModelError: not one name a class, or WordNet ids that ImageNet does not have.
    """
    if base.class_names is not None:
        if len(base.class_names) != len(classes):
            raise ModelError(
                f"base.class_names has {len(base.class_names)} names, but there are "
                f"{len(classes)} class folders"
            )
        return base.class_names
    if not all(WNID.fullmatch(name) for name in classes):
        return [name.replace("_", " ") for name in classes]
    from timm.data import ImageNetInfo

    place = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
    unknown = [name for name in classes if name not in place]
    if unknown:
        raise ModelError(
            f"{len(unknown)} of {len(classes)} class folders are none of ImageNet's 1,000 "
            f"({', '.join(unknown[:5])}): give their names in base.class_names, in sorted order "
            "of the folders"
        )
    return [open_clip.IMAGENET_CLASSNAMES[place[name]] for name in classes]


def zero_shot(model: Any, base: Base, names: Sequence[str]) -> Tensor:
    """The text classifier times the logit scale, (classes, features).

    A bias of the logits (SigLIP's) is the same for all classes, and left out.
    """
    given = base.templates
    templates = TEMPLATES[given] if isinstance(given, str) else [_template(text) for text in given]
    length = base.kwargs.get("force_context_length")
    tokenizer = open_clip.get_tokenizer(registered_name(base.model), context_length=length)
    with torch.no_grad():
        columns = open_clip.build_zero_shot_classifier(
            model, tokenizer=tokenizer, classnames=names, templates=templates, device="cpu"
        )
        weight: Tensor = columns.T * model.logit_scale.exp()
    return weight


def _template(text: str) -> Template:
    return lambda name: text.replace("{}", name)  # str.format would stumble over other braces


def require_text_tower(base: Base) -> None:
    """
    Raises:
        ModelError: the text tower or its tokenizer needs a package that is not installed.
    """
    text = text_config(base.model)
    parts = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    if parts and importlib.util.find_spec("transformers") is None:
        named = ", ".join(f"{key}: {text[key]}" for key in parts)
        raise ModelError(
            f"base.model: the text tower of {base.model} is of Hugging Face ({named}) and needs "
            "the package transformers, which is not installed: pip install transformers"
        )
