"""Zero-shot heads: classifiers computed by a CLIP text tower from class names and prompts.

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
from soup.models.clip_towers import registered_name

Template = Callable[[str], str]  # class name -> prompt
# Of open_clip, as published with CLIP; the prompt alone that CLIP's authors name first.
TEMPLATES: dict[str, Sequence[Template]] = {
    "openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
    "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    "photo": [lambda name: f"a photo of a {name}."],
}
WNID = re.compile(r"n\d{8}")


def class_names(base: Base, classes: Sequence[str]) -> list[str]:
    """The names of the classes in prompts.

    These are the names in `base.class_names` if there are any. For classes named by WordNet ids
    they are ImageNet's names as edited by the authors of CLIP. Otherwise they are the class names
    with spaces for underscores.

    Raises:
        ModelError: the number of names is not that of the classes, or ImageNet lacks a WordNet id.
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

    position = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
    unknown = [name for name in classes if name not in position]
    if unknown:
        raise ModelError(
            f"{len(unknown)} of {len(classes)} class folders are none of ImageNet's 1,000 "
            f"({', '.join(unknown[:5])}): give their names in base.class_names, in sorted order "
            "of the folders"
        )
    return [open_clip.IMAGENET_CLASSNAMES[position[name]] for name in classes]


def zero_shot(model: Any, base: Base, names: Sequence[str]) -> Tensor:
    """The weight of the zero-shot head, (classes, features): text classifier times logit scale.

    A bias of the logits (SigLIP) is left out, because it is the same for all classes.

    Args:
        model: the CLIP model, with its text tower.
        base: the parameters of the initialisation, which name the prompt templates.
        names: of the classes, as in prompts.
    """
    chosen = base.templates
    templates = TEMPLATES[chosen] if isinstance(chosen, str) else [*map(_template, chosen)]
    length = base.kwargs.get("force_context_length")
    tokenizer = open_clip.get_tokenizer(registered_name(base.model), context_length=length)
    with torch.no_grad():
        columns = open_clip.build_zero_shot_classifier(
            model, tokenizer=tokenizer, classnames=names, templates=templates, device="cpu"
        )
        weight: Tensor = columns.T * model.logit_scale.exp()
    return weight


def _template(text: str) -> Template:
    return lambda name: text.replace("{}", name)  # str.format would fail on other braces


def require_text_tower(base: Base) -> None:
    """Check that the packages of a model's text tower are installed.

    Raises:
        ModelError: the text tower or its tokenizer needs a package that is not installed.
    """
    text = open_clip.get_model_config(registered_name(base.model))["text_cfg"]
    parts = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    if parts and importlib.util.find_spec("transformers") is None:
        named = ", ".join(f"{key}: {text[key]}" for key in parts)
        raise ModelError(
            f"base.model: the text tower of {base.model} is of Hugging Face ({named}) and needs "
            "the package transformers, which is not installed: pip install transformers"
        )
