"""Import: what people have, converted once to safetensors; only tensors are ever taken from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, strided

from soup.errors import some
from soup.models.conversion import names, source_files, timm_names
from soup.models.conversion.candidates import candidates, choose
from soup.models.conversion.errors import FormatError
from soup.weights.checkpoint import save
from soup.weights.safetensors_header import DTYPE_NAMES


@dataclass(frozen=True)
class Imported:
    """What was found in a source, and what became of it.

    Attributes:
        path: the safetensors file written.
        layout: who wrote the source: 'Lightning', 'timm', 'open_clip', 'Hugging Face',
            'model-soups', or plain 'torch' or 'safetensors'.
        key: the keys that lead to the weights taken, joined by dots; '' for the file itself.
        others: keys of the other weights found there.
        averaged: whether the weights taken are an average over steps (EMA, SWA).
        stripped: prefixes that all names had, in the order of removal.
        renamed: old to new names of tensors renamed beyond that.
        made: tensors that timm made of others, merged or resampled.
        dropped: entries, under their old names, that the output does not have.
        dtypes: how many tensors there are of each.
        size: bytes of the file written.
        sha256: digest of the source; of shards, of the list of their digests.
    """

    path: Path
    layout: str
    key: str
    others: tuple[str, ...]
    averaged: bool
    stripped: tuple[str, ...]
    renamed: Mapping[str, str]
    made: tuple[str, ...]
    dropped: tuple[str, ...]
    dtypes: Mapping[str, int]
    size: int
    sha256: str

    @property
    def tensors(self) -> int:
        return sum(self.dtypes.values())


def convert(
    source: str | Path,
    out: str | Path,
    *,
    ema: bool = False,
    key: str | None = None,
    prefixes: Sequence[str] = names.PREFIXES,
    model: str | None = None,
) -> Imported:
    """Convert a checkpoint, or a folder of one, to a safetensors file of its weights alone.

    Dtypes stay as they are, tied tensors stay tied, and tensors are mapped from their files, so
    that memory is needed for a few of them.

    Args:
        source: a file of `torch.save` or safetensors, an index of shards, or a Hugging Face folder.
        out: the file to write; it appears whole or not at all.
        ema: take the average over steps that a training checkpoint keeps beside its weights.
        key: take the weights at these keys, joined by dots, where a file has several.
        prefixes: stripped from the names where all of them share one.
        model: 'timm:NAME' maps the names to those of that model, and has them checked.

    Raises:
        FormatError: no weights that can be used, or not those asked for; all that is wrong with
            them is listed, and the remedy.
        CheckpointError: a safetensors file is damaged.
        OSError: a file cannot be read or written.
    """
    source, out = Path(source), Path(out)
    library, _, name = (model or "timm:").partition(":")
    if library != "timm" or (model is not None and not name):
        raise FormatError(f"model: {model!r} is not known; give 'timm:NAME'")
    first = source_files.locate(source)
    parts = source_files.parts(first)
    if out.exists() and any(out.samefile(part) for part in [first, *parts]):
        raise FormatError(f"{out}: is part of what is to be imported; name another file to write")
    content = source_files.contents(first)
    try:
        found = candidates(content)
        taken = choose(found, ema, key)
        short, stripped = names.strip(taken.weights, prefixes)
        weights = {new: taken.weights[old] for old, new in short.items()}
        pool = names.from_model_soups(weights)
        if pool is not None:
            weights = {new: weights[old] for old, new in pool.items()}
        if name:
            weights = timm_names.fit(weights, name)
        _require_savable(weights)
    except FormatError as error:
        raise FormatError(f"{first}: {error}") from None

    layout = "model-soups" if pool is not None else _layout(first, content)
    sha256 = source_files.digest(parts)
    notes = {"source": source.name, "sha256": sha256, "layout": layout, "key": taken.key}
    save(weights, out, notes | ({"model": model} if model else {}))

    origin = {id(tensor): old for old, tensor in taken.weights.items()}
    new_names = {origin[id(t)]: new for new, t in weights.items() if id(t) in origin}
    return Imported(
        path=out,
        layout=layout,
        key=taken.key,
        others=tuple(each.key for each in found if each is not taken),
        averaged=taken.averaged,
        stripped=stripped,
        renamed={old: new for old, new in new_names.items() if new != short[old]},
        made=tuple(new for new, tensor in weights.items() if id(tensor) not in origin),
        dropped=(*taken.dropped, *(old for old in taken.weights if old not in new_names)),
        dtypes=dict(Counter(str(t.dtype).removeprefix("torch.") for t in weights.values())),
        size=out.stat().st_size,
        sha256=sha256,
    )


def _layout(first: Path, content: object) -> str:
    """Who wrote a file, by what only they write."""
    keys = set(content) if isinstance(content, Mapping) else set()
    if "pytorch-lightning_version" in keys:
        return "Lightning"
    if {"arch", "epoch", "state_dict"} <= keys:
        return "timm"
    if {"name", "epoch", "state_dict"} <= keys:
        return "open_clip"
    if first.name in source_files.FOLDER or first.name.endswith(source_files.INDEX):
        return "Hugging Face"
    return "safetensors" if first.suffix == ".safetensors" else "torch"


def _require_savable(weights: Mapping[str, Tensor]) -> None:
    """Raise for tensors that cannot be averaged or written; all of them are named."""
    kinds = [(name, _unsavable(tensor)) for name, tensor in weights.items()]
    found = [f"{name} is {kind}" for name, kind in kinds if kind]
    if found:
        raise FormatError(
            f"{some(found, 10, last=' ')}; weights are averaged as dense real tensors: "
            "save them as such where they were made"
        )


def _unsavable(tensor: Tensor) -> str:
    """What is in the way of averaging or writing a tensor; '' if nothing is."""
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_meta:
        return "without data (meta)"
    if tensor.is_complex() or tensor.dtype not in DTYPE_NAMES:
        return str(tensor.dtype).removeprefix("torch.")
    return ""
