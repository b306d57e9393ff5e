"""base: a model's name -> the initialisation that every ingredient shares."""

from typing import Any

import torch
from torch import nn

from soup.checkpoint import save
from soup.data.split import classes_of, read_csv
from soup.models import Architecture, ModelError
from soup.project import Project


def run(project: Project) -> dict[str, Any]:
    """Fetch, read or (in the embedded demo) pretrain the base model, with a head for our classes.

    Raises:
        ModelError: unknown, cannot be fetched, its weights or the image size do not fit.
    """
    params = project.params
    classes = tuple(classes_of(read_csv(project.development)))
    if params.base.weights == "embedded":
        from soup.train.embedded import pretrained

        architecture, model = pretrained(params.base, params.data, classes)
    elif params.base.library == "timm":
        from soup.models import vision

        architecture, model = vision.make_base(params.base, classes)
    else:
        from soup.models import clip

        architecture, model = clip.make_base(params.base, classes)
    _try(architecture, model)
    architecture.save(project.out / "base" / "model.json")
    save(model.state_dict(), project.out / "base" / "model.safetensors")
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"summary": f"{architecture.library} {architecture.model}, {count:,} parameters"}


def _try(architecture: Architecture, model: nn.Module) -> None:
    """Show the model one image, rather than let the probe find out that it takes another size."""
    size = architecture.image_size
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(
            f"{architecture.model} does not take images of {size} x {size}: {error}; "
            "set base.image_size, or its own argument in base.kwargs (img_size for a ViT)"
        ) from None
