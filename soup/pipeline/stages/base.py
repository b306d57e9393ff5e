"""base: a model's name -> the initialisation that every ingredient shares."""

from typing import Any

from soup.data.text.glue import PAIR, TASKS
from soup.data.text.texts import parts
from soup.models import head_weights, require_size, write_description
from soup.pipeline.project import Project
from soup.weights import Weights
from soup.weights.checkpoint import save
from soup.weights.shards import WEIGHTS_FILE


def run(project: Project) -> dict[str, Any]:
    """Fetch, read or (in the embedded demo) pretrain the base model, with a head for our classes.

    Where it can tell classes by their names, that zero-shot head is kept beside it, for it is the
    baseline of every table, whatever head the fine-tunes start from; else an empty file.

    Raises:
        ModelError: unknown, cannot be fetched, its weights or the image size do not fit.
    """
    params = project.params
    classes = project.classes()
    zero_shot: Weights = {}
    if params.base.weights == "embedded":
        from soup.pipeline.demo.pretrain import pretrained

        architecture, model = pretrained(params.base, params.data, classes, project.track)
        zero_shot = head_weights(architecture, model)
    elif params.base.library == "transformers":
        from soup.models import transformers_init

        architecture, model, note = transformers_init.make_base(
            params.base, classes, _prompt(project)
        )
        if note:
            project.say(note)
        if params.base.head == "zeroshot":
            zero_shot = head_weights(architecture, model)
    elif params.base.library == "timm":
        from soup.models import timm_init

        architecture, model = timm_init.make_base(params.base, classes)
    else:
        from soup.models import clip_init

        architecture, model, zero_shot = clip_init.make_base(
            params.base, classes, project.out / "base", project.say
        )
    if not architecture.of_text:
        remedy = "set base.image_size, or its own argument in base.kwargs (img_size for a ViT)"
        require_size(architecture, model, remedy)
    write_description(architecture, project.out / "base")
    save(model.state_dict(), project.out / "base" / WEIGHTS_FILE)
    save(zero_shot, project.out / "base" / "zeroshot.safetensors")
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"summary": f"{architecture.library} {architecture.model}, {count:,} parameters"}


def _prompt(project: Project) -> str:
    """What a model that writes labels reads: as given, as T5 was trained, or the texts alone."""
    text = project.params.data.text
    if project.params.base.prompt or text is None:
        return project.params.base.prompt or ""
    if text.task is not None:
        return TASKS[text.task].prompt
    rows = project.manifest(project.development).rows
    return PAIR if len(parts(rows[0].path)[1]) == 2 else "{text}"
