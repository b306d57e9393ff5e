"""The architecture of a checkpoint, from the command's options or from the checkpoint."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from soup import limits
from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.arguments import is_word
from soup.models.building import head_weights, outline_of
from soup.models.outline import outline
from soup.models.stored_description import Stored, read, stored
from soup.weights.checkpoint import Checkpoint

# Fields of `Architecture` that say how an image becomes the model's input, in the order told.
INPUT = ("image_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")


class Resolved(NamedTuple):
    """The architecture of a checkpoint, and where it is known from.

    Attributes:
        architecture: of the checkpoint.
        named: whether its class names were stored with it.
        sources: for each field of `INPUT`, who says so.
    """

    architecture: Architecture
    named: bool
    sources: Mapping[str, str]

    def __str__(self) -> str:
        """The model and its input in one line, each part with its source."""
        a = self.architecture
        if a.of_text:
            return f"{a.library}:{a.model}, texts cut at {a.max_length} tokens"
        shown = {
            "image_size": f"{a.image_size} x {a.image_size} px",
            "crop_pct": f"crop {a.crop_pct:g}",
            "crop_mode": a.crop_mode,
            "interpolation": a.interpolation,
            "mean": "mean " + " ".join(f"{value:.4g}" for value in a.mean),
            "std": "std " + " ".join(f"{value:.4g}" for value in a.std),
        }
        by_source: dict[str, list[str]] = {}
        for name in INPUT:
            by_source.setdefault(self.sources[name], []).append(shown[name])
        parts = [f"{', '.join(values)} ({source})" for source, values in by_source.items()]
        arguments = "".join(f" {name}={value}" for name, value in a.kwargs.items())
        return f"{a.library}:{a.model}{arguments}, images as {'; '.join(parts)}"


def resolve_architecture(
    model: str | None,
    weights: Checkpoint,
    classes: tuple[str, ...],
    given: Mapping[str, Any] | None = None,
) -> Resolved:
    """The architecture of a checkpoint.

    What is given goes before what the checkpoint says (`stored_description`), and that before the
    defaults of the library.

    Args:
        model: 'timm:NAME', 'open_clip:NAME' or the path of a model.json. If it is None, the model
            is the one that the checkpoint names.
        weights: the checkpoint.
        classes: class names for a model that does not know its own.
        given: fields of `Architecture` that the user gives.

    Raises:
        ModelError: the model is unknown, or `model` is None and the checkpoint names none.
    """
    given = dict(given or {})
    flags = {n: f"--{n.replace('_', '-')}" for n in given}
    if "img_size" in given.get("kwargs", {}) and "image_size" not in given:
        given["image_size"] = given["kwargs"]["img_size"]
        flags["image_size"] = "--kwargs img_size"
    told = stored(weights)
    library, _, name = (model or "").partition(":")
    if library not in ("timm", "open_clip") or not name:
        library, name = "", ""
        if model is not None and not model.endswith(".json"):
            raise ModelError(
                f"{model!r} is no model: give timm:NAME, open_clip:NAME or a model.json"
            )
        told = told if model is None else Stored(read(Path(model)), model)
    elif told.fields.get("model") and _identity(told.fields) != _identity(
        {"library": library, "model": name}
    ):  # of another model: its preprocessing says nothing of this one
        told = Stored()
    fields = dict(told.fields)
    library, name = library or fields.get("library", "timm"), name or fields.get("model", "")
    if not name:
        raise ModelError(
            f"{weights.path} does not say what model it belongs to: "
            "give --model timm:NAME, open_clip:NAME or a model.json"
        )
    named = bool(fields.get("classes"))
    kwargs = {**fields.get("kwargs", {}), **given.get("kwargs", {})}
    wanted = {**fields, **given, "library": library, "model": name, "kwargs": kwargs}
    wanted["classes"] = fields["classes"] if named else classes
    whole = {"image_size", "mean", "std", "crop_pct", "interpolation"} <= wanted.keys()
    if whole and (library == "timm" or fields.get("config")):
        architecture = Architecture(**wanted)
    elif not is_word(name) and name == fields.get("model") and (model or ".json").endswith(".json"):
        raise ModelError(  # the library would read or fetch it
            f"{weights.path} names the model {name[:100]!r} without saying what it is: give the "
            f"model yourself, --model {library}:NAME"
        )
    else:
        architecture = replace(_usual(wanted), **{n: wanted[n] for n in INPUT if n in wanted})
    usual = f"{library}'s defaults"
    sources = {n: flags.get(n) or (told.source if n in fields else usual) for n in INPUT}
    return Resolved(architecture, named, sources)


def numbered(resolved: Resolved, weights: Checkpoint) -> Architecture:
    """The architecture, with numbers for class names that are not known: as many as the head has.

    Raises:
        ModelError: the model cannot be built.
    """
    if resolved.named:
        return resolved.architecture
    name = next(iter(head_weights(resolved.architecture, outline_of(resolved.architecture))))
    shape = weights.specs[name].shape if name in weights.specs else ()
    rows = shape[0] if shape else 1
    if rows > limits.CLASSES:
        raise ModelError(
            f"{weights.path} has {rows:,} classes; at most {limits.CLASSES:,} are read "
            "(limit CLASSES in soup/limits.py)"
        )
    return replace(resolved.architecture, classes=tuple(map(str, range(rows))))


def disagreements(resolved: Resolved, others: Mapping[str, Checkpoint]) -> list[str]:
    """What other checkpoints say of their input and classes that is not so in this architecture.

    Args:
        others: by the names that are shown.
    """
    chosen = {name for name, source in resolved.sources.items() if source.startswith("--")}
    ignored = chosen | (set() if resolved.named else {"classes"})
    said = {name: stored(checkpoint).fields for name, checkpoint in others.items()}
    return contradictions(resolved.architecture, said, ignored)


def contradictions(
    architecture: Architecture, said: Mapping[str, Mapping[str, Any]], ignored: Collection[str] = ()
) -> list[str]:
    """What is said of models, by their names, that is not so in an architecture.

    Args:
        said: of each model, fields of `Architecture`: input and classes are compared.
        ignored: fields that are not.
    """
    problems = []
    for name, says in said.items():
        for field in (*INPUT, "classes"):
            here = getattr(architecture, field)
            if field in ignored or field not in says or says[field] == here:
                continue
            if field == "classes":
                problems.append(f"{name} has other classes, or in another order")
            else:
                problems.append(f"{name} says {field.replace('_', ' ')} {says[field]}, not {here}")
    return problems


def _identity(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The library and the model; of a timm model without the tag of its pretrained weights."""
    library, name = fields.get("library", "timm"), fields["model"]
    return library, name.partition(".")[0] if library == "timm" else name


def _usual(wanted: Mapping[str, Any]) -> Architecture:
    """The model with the preprocessing that its library has for it."""
    name, kwargs, classes = wanted["model"], wanted["kwargs"], wanted["classes"]
    size = wanted.get("image_size")
    if wanted["library"] == "open_clip":
        from soup.models import clip_models

        base = Base(library="open_clip", model=name, kwargs=kwargs, image_size=size)
        return clip_models.describe(base, classes)
    from soup.models import timm_models

    if size and timm_models.has_fixed_size(name):
        kwargs = {"img_size": size, **kwargs}
    try:
        made = outline(partial(timm_models.create, name, kwargs, len(classes)), name)
        return timm_models.describe(Base(model=name, kwargs=kwargs), classes, made)
    except ModelError as error:
        raise ModelError(str(error).replace("base.model", "--model")) from None
