"""What wrappers and published pools call tensors, and what the model itself calls them."""

from collections.abc import Iterable, Sequence

# DataParallel and AveragedModel, torch.compile, Lightning modules, and detectors and the like.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


def strip(names: Iterable[str], prefixes: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Names without the prefixes that all of them share, and those prefixes in their order.

    A prefix that only some have is part of the model (`backbone.` beside `head.`), and stays.
    """
    new = {name: name for name in names}
    stripped: list[str] = []
    while shared := next((p for p in prefixes if all(n.startswith(p) for n in new.values())), ""):
        new = {name: short.removeprefix(shared) for name, short in new.items()}
        stripped.append(shared)
    return new, tuple(stripped)


def from_model_soups(names: Iterable[str]) -> dict[str, str] | None:
    """From names of the published model-soups pool to those of a `ClipClassifier`.

    There a model is OpenAI's CLIP as `model.*`, of whose text tower the leftovers are dropped, and
    a head `classification_head.*`; mlfoundations/model-soups, utils.py. The image tower's names are
    those of open_clip (for ViT-B/32 the model `ViT-B-32-quickgelu`).

    Returns:
        Old to new names of what is kept, or None where the names are not of that layout.
    """
    names = list(names)
    if not all(name.startswith(("model.", "classification_head.")) for name in names):
        return None
    kept = {
        name: new + name.removeprefix(old)
        for name in names
        for old, new in (("model.visual.", "visual."), ("classification_head.", "head."))
        if name.startswith(old)
    }
    towers = {short.partition(".")[0] for short in kept.values()}
    return kept if towers == {"visual", "head"} else None
