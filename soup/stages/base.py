"""base: a model's name -> the initialisation that every ingredient shares."""

from typing import Any

from soup.checkpoint import save
from soup.data.split import classes_of, read_csv
from soup.project import Project


def run(project: Project) -> dict[str, Any]:
    """Fetch, read or (in the embedded demo) pretrain the base model, with a head for our classes.

    Raises:
        ModelError: unknown, cannot be fetched, or its weights do not fit.
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
    architecture.save(project.out / "base" / "model.json")
    save(model.state_dict(), project.out / "base" / "model.safetensors")
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"summary": f"{architecture.library} {architecture.model}, {count:,} parameters"}
