"""Import: a checkpoint of any supported format is converted to safetensors, tensors only."""

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, strided

from soup.errors import some
from soup.models.architecture import ModelError, known_fields
from soup.models.conversion import growth, names, source_files, timm_names
from soup.models.conversion.candidates import candidates, choose
from soup.models.conversion.errors import FormatError
from soup.models.conversion.stand_ins import Outline
from soup.models.stored_description import (
    DAMAGE,
    NOTE,
    beside,
    note,
    of_timm_arguments,
    stored,
)
from soup.weights import materialize
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.digesting import of_shards
from soup.weights.safetensors_header import DTYPE_NAMES


@dataclass(frozen=True)
class Imported:
    """The report of a conversion.

    Attributes:
        path: the safetensors file written.
        layout: the program that wrote the source: 'Lightning', 'timm', 'open_clip', 'Hugging Face',
            'model-soups', 'torch.distributed', or plain 'torch' or 'safetensors'.
        key: the keys that lead to the converted weights, joined by dots; '' for the file itself.
        others: keys of the other sets of weights in the source.
        averaged: whether the converted weights are an average over steps (EMA, SWA).
        stripped: prefixes that all names had, and wrappers within names.
        renamed: old names -> new names of tensors that were renamed in another way.
        made: names of tensors that timm merged or resampled from others.
        dropped: old names of entries that the output does not have.
        beside: names of Lightning's tensors beside its "model.", which stays in names therefore.
        dtypes: dtype -> number of tensors.
        size: of the file written, in bytes.
        sha256: digest of the source; for shards, of the list of their digests.
        description: what is known of the model: fields of `soup.models.Architecture`.
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
    beside: tuple[str, ...]
    dtypes: Mapping[str, int]
    size: int
    sha256: str
    description: Mapping[str, Any]

    @property
    def tensors(self) -> int:
        return sum(self.dtypes.values())


def convert(
    source: str | Path,
    out: str | Path,
    *,
    ema: bool = False,
    key: str | None = None,
    model: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Imported:
    """Convert a checkpoint, or a folder that holds one, to a safetensors file of its weights.

    Dtypes are kept, and tied tensors stay tied. Tensors are mapped from their files, so that only a
    few of them are in memory.

    Args:
        source: a file of `torch.save` or safetensors, an index of shards, a Hugging Face folder, or
            one of `torch.distributed`.
        out: the file to write; it is complete or not written at all.
        ema: convert the average over steps that a training checkpoint has beside its weights.
        key: keys of the weights to convert, joined by dots, if a file has several sets.
        model: 'timm:NAME' renames the tensors as in this model, and checks them.
        given: fields of `soup.models.Architecture` that go before what the source says of them.

    Raises:
        FormatError: the source has no usable weights, or not the wanted ones; the message lists
            everything that is wrong with them, and the remedy.
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
        chosen = choose(found, ema, key)
        growth.require_sound_size(chosen.weights, first, source_files.size_of(first))
        if isinstance(content, Outline) and name:
            chosen = replace(chosen, weights=materialize(content.read(chosen.weights)))
        named = names.in_model(chosen.weights)
        weights = {new: chosen.weights[old] for old, new in named.kept.items()}
        if name:
            weights = timm_names.fit(weights, name)
        _require_savable(weights)
    except FormatError as error:
        raise FormatError(str(error) if str(first) in str(error) else f"{first}: {error}") from None

    layout = "model-soups" if named.is_pool else _layout(first, content)
    sha256 = of_shards([str(part) for part in parts])
    notes = {"source": source.name, "sha256": sha256, "layout": layout, "key": chosen.key}
    description = description_of(first, content, name, given or {})
    notes |= {NOTE: note(description)} if description else {}
    notes |= _recorded(content)
    whole = content.read(weights) if isinstance(content, Outline) and not name else weights
    save(whole, out, notes | ({"model": model} if model else {}))

    beside = [name for name in weights if not name.startswith("model.")]
    origin = {id(tensor): old for old, tensor in chosen.weights.items()}
    new_names = {origin[id(t)]: new for new, t in weights.items() if id(t) in origin}
    return Imported(
        path=out,
        layout=layout,
        key=chosen.key,
        others=tuple(other.key for other in found if other is not chosen),
        averaged=chosen.averaged,
        stripped=named.stripped,
        renamed={old: new for old, new in new_names.items() if new != named.short[old]},
        made=tuple(new for new, tensor in weights.items() if id(tensor) not in origin),
        dropped=(*chosen.dropped, *(old for old in chosen.weights if old not in new_names)),
        beside=tuple(beside if layout == "Lightning" and len(beside) < len(weights) else ()),
        dtypes=dict(Counter(str(t.dtype).removeprefix("torch.") for t in weights.values())),
        size=out.stat().st_size,
        sha256=sha256,
        description=description,
    )


def _recorded(content: object) -> dict[str, str]:
    """The accuracy, 0 to 1, that timm's train.py wrote down: top-1 in percent."""
    told = content if isinstance(content, Mapping) else {}
    arguments, metric = told.get("args"), told.get("metric")
    by = getattr(arguments, "eval_metric", "") if isinstance(arguments, Namespace) else ""
    if by != "top1" or not isinstance(metric, int | float) or not 0 <= metric <= 100:
        return {}
    return {"accuracy": str(metric / 100)}


def description_of(
    first: Path, content: object, name: str = "", given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What is known of a model: given, in the file or beside it, in this order.

    Args:
        first: the file, or the index of its shards.
        content: of the file.
        name: of the model in timm; '' if it is not given.
        given: fields of `soup.models.Architecture`.

    Raises:
        ModelError: a description is damaged, or the input is not square.
    """
    given = given or {}
    arguments = content.get("args") if isinstance(content, Mapping) else None
    told: Mapping[str, Any] = {}
    if first.suffix == ".safetensors" and not first.name.endswith(source_files.INDEX):
        told = stored(Checkpoint(first)).fields
    elif isinstance(arguments, Namespace) and "model" in arguments:
        source = f"{first}: the command line of timm's train.py in it"
        try:
            fields = of_timm_arguments(vars(arguments))
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from None
        except DAMAGE as error:
            raise FormatError(f"{source} is not what timm writes: {error}") from None
        told = known_fields(fields, source)
    told = told or beside(first if first.is_dir() else first.parent).fields
    if name and told.get("model", name).partition(".")[0] != name.partition(".")[0]:
        told = {}
    fields = {**told, **given} | ({"library": "timm", "model": name} if name else {})
    kwargs = {**told.get("kwargs", {}), **given.get("kwargs", {})}
    return fields | ({"kwargs": kwargs} if kwargs else {})


def _layout(first: Path, content: object) -> str:
    """The program that wrote a file, by the keys that only this program writes."""
    if isinstance(content, Outline):
        return "torch.distributed"
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
    """Raise for tensors that cannot be averaged or written; the message lists them all."""
    kinds = [(name, _unsavable(tensor)) for name, tensor in weights.items()]
    problems = [f"{name} is {kind}" for name, kind in kinds if kind] + [
        f"{name} is one process's part of parameters that FSDP joined (FULL_STATE_DICT saves all)"
        for name in weights
        if name.endswith("flat_param")
    ]
    if problems:
        raise FormatError(
            f"{some(problems, 10, last=' ')}; weights are averaged as dense tensors: "
            "save them as such where they were made"
        )


def _unsavable(tensor: Tensor) -> str:
    """Why a tensor cannot be averaged or written; '' if it can."""
    if type(tensor) is not Tensor or tensor.is_quantized:
        return "quantised" if type(tensor) is Tensor else f"a {type(tensor).__name__}"
    if tensor.layout != strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_meta:
        return "without data (meta)"
    if tensor.dtype not in DTYPE_NAMES:
        return str(tensor.dtype).removeprefix("torch.")
    return ""
