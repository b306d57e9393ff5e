"""Tensor names in wrappers and published pools, translated to the names in the model."""

from collections.abc import Iterable, Sequence

# DataParallel and AveragedModel, torch.compile, Lightning modules, and detectors and the like.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


def strip(names: Iterable[str], prefixes: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Old names -> names without the prefixes that all names share, and the removed prefixes.

    A prefix that only some names have is part of the model (`backbone.` beside `head.`) and stays.
    """
    new = {name: name for name in names}
    stripped: list[str] = []
    while shared := next((p for p in prefixes if all(n.startswith(p) for n in new.values())), ""):
        new = {name: short.removeprefix(shared) for name, short in new.items()}
        stripped.append(shared)
    return new, tuple(stripped)


def in_model(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...], bool]:
    """Names in a file -> names in the model, the removed prefixes, and whether of the known pool.

    Names of tensors that the model does not have (a pool's text tower) are left out.
    """
    short, stripped = strip(names, PREFIXES)
    pool = from_model_soups(short.values())
    if pool is None:
        return short, stripped, False
    return {old: pool[new] for old, new in short.items() if new in pool}, stripped, True


def from_model_soups(names: Iterable[str]) -> dict[str, str] | None:
    """Names in the published model-soups pool -> names in a `ClipClassifier`.

    A model of the pool is OpenAI's CLIP as `model.*` and a head `classification_head.*`
    (mlfoundations/model-soups, utils.py). Tensors of the text tower are dropped. The image tower
    has the names of open_clip (for ViT-B/32 those of the model `ViT-B-32-quickgelu`).

    Returns:
        Old names -> new names of the tensors that are kept; None if the names are not the pool's.
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
