"""Tensor names in wrappers and published pools, translated to the names in the model."""

from collections.abc import Iterable
from typing import NamedTuple

from soup.weights.wrappers import unwrap


class Names(NamedTuple):
    """Names of tensors in a file and in the model.

    Attributes:
        short: name in the file -> name without wrappers.
        kept: name in the file -> name in the model, where the model has the tensor.
        stripped: what was removed of the names.
        is_pool: whether the file is of the published model-soups pool.
    """

    short: dict[str, str]
    kept: dict[str, str]
    stripped: tuple[str, ...]
    is_pool: bool


def in_model(names: Iterable[str]) -> Names:
    """Translate the names in a file to those in the model."""
    short, stripped = unwrap(names)
    pool = from_model_soups(short.values())
    if pool is None:
        return Names(short, short, stripped, False)
    kept = {old: pool[new] for old, new in short.items() if new in pool}
    return Names(short, kept, stripped, True)


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
