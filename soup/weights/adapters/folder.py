"""An adapter's folder: its settings and its tensors, sorted by the modules that they change."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from soup.errors import BadInput, some
from soup.files import BadJson, read_json
from soup.weights.adapters.config import CONFIG_FILE, MERGE, AdapterConfig, named, read_config
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import CheckpointError

WEIGHTS_FILE = "adapter_model.safetensors"
OUTER = "base_model.model."  # before all names in an adapter's file
PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(\.default)?(\.weight)?"
)
# Parts of names that PEFT puts around the tensors of a module that it trains as a whole.
AROUND = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")
# What other methods of PEFT write. No more, because a model may have a module `prompt_encoder`.
FOREIGN = re.compile(
    r"(^|\.)(lora_\w+(\..*)?|(trainable_tokens_\w+|(hada|lokr)_[wt][12](_[ab])?|ia3_l"
    r"|vera_(A|B|lambda_[bd])|b?oft_(R|s|embedding_R)|prompt_embeddings|adaption_(prompt|gate))"
    r"(\.default)?(\.weight)?)$"
)


@dataclass
class Factors:
    """The tensors that an adapter has for a module."""

    a: Tensor
    b: Tensor
    embedding: bool = False
    magnitude: Tensor | None = None


@dataclass(frozen=True)
class Adapter:
    """An adapter of PEFT in a folder.

    Attributes:
        path: as given.
        config: its settings.
        file: its tensors.
        factors: module -> its factors.
        whole: name in the model -> name in the file of each tensor that the adapter replaces
            (`modules_to_save`, biases).
    """

    path: str
    config: AdapterConfig
    file: Checkpoint
    factors: Mapping[str, Factors] = field(repr=False)
    whole: Mapping[str, str] = field(repr=False)

    @property
    def files(self) -> list[str]:
        return [*self.file.files, str(Path(self.file.files[0]).parent / CONFIG_FILE)]

    @classmethod
    def open(cls, path: str) -> "Adapter":
        """Open an adapter.

        Args:
            path: its folder, or its file of tensors.

        Raises:
            CheckpointError: a file is missing or damaged, or the adapter has what is not supported.
        """
        folder = folder_of(path)
        config = read_config(folder)
        if not (folder / WEIGHTS_FILE).is_file() and (folder / "adapter_model.bin").is_file():
            old, new = folder / "adapter_model.bin", folder / WEIGHTS_FILE
            raise CheckpointError(f"{old}: convert it once: soup import {old} --out {new}")
        file = Checkpoint(folder / WEIGHTS_FILE)
        found: dict[str, dict[str, str]] = {}
        whole: dict[str, str] = {}
        strange = []
        for name in file:
            bare = name.removeprefix(OUTER)
            match = PART.fullmatch(bare)
            if ".original_module." in bare:
                continue  # what a module was that `modules_to_save` replaces
            if match:
                found.setdefault(match["module"], {})[match["part"]] = name
            elif FOREIGN.search(bare):
                strange.append(name)
            else:
                whole[AROUND.sub("", bare)] = name
        if strange:
            raise CheckpointError(
                f"{file}: {some(strange, 5)}: no factors of LoRA that are read here; {MERGE}"
            )
        if not found and not whole:
            raise CheckpointError(f"{file}: an adapter without any tensor")
        factors = {module: _factors(file, module, parts) for module, parts in found.items()}
        adapter = cls(path, config, file, factors, whole)
        adapter._require_ranks()
        return adapter

    def _require_ranks(self) -> None:
        problems = []
        for module, factors in self.factors.items():
            rank, states = len(factors.a), self.config.rank(module)
            if rank != states or factors.b.shape[1] != rank:
                problems.append(
                    f"{module}: A is {tuple(factors.a.shape)} and B {tuple(factors.b.shape)}, "
                    f"and {CONFIG_FILE} says rank {states}"
                )
            if (factors.magnitude is not None) != self.config.dora:
                has = "no magnitude" if factors.magnitude is None else "a magnitude"
                problems.append(f"{module} has {has}, and use_dora is {self.config.dora}")
        if problems:
            raise CheckpointError(f"{self.file}: {some(problems, 5, '; ')}")


def _factors(file: Checkpoint, module: str, parts: Mapping[str, str]) -> Factors:
    kinds = [kind for kind in ("lora_", "lora_embedding_") if f"{kind}A" in parts]
    if len(kinds) != 1 or f"{kinds[0]}B" not in parts:
        raise CheckpointError(
            f"{file}: {module} has {', '.join(sorted(parts))}, and not one A and one B"
        )
    a, b = file[parts[f"{kinds[0]}A"]], file[parts[f"{kinds[0]}B"]]
    if min(a.ndim, b.ndim) < 2 or not (a.is_floating_point() and b.is_floating_point()):
        raise CheckpointError(f"{file}: the factors of {module} are no matrices of real numbers")
    magnitude = parts.get("lora_magnitude_vector")
    length = None if magnitude is None else file[magnitude]
    return Factors(a, b, kinds[0] == "lora_embedding_", length)


def folder_of(path: str) -> Path:
    """The folder of an adapter that is named by it or by its file of tensors."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def is_adapter(path: str) -> bool:
    """Whether a path is an adapter of PEFT: its folder, or its file of tensors."""
    given = Path(path)
    if given.is_dir():
        # A checkpoint of the Trainer may have both; whole weights go before the adapter.
        return (given / CONFIG_FILE).is_file() and not (given / "model.safetensors").is_file()
    return given.name == WEIGHTS_FILE and (given.parent / CONFIG_FILE).is_file()


def named_base(path: str) -> str:
    """The base that an adapter says it was trained on; '' if it says none."""
    try:
        values = read_json(folder_of(path) / CONFIG_FILE)
    except (OSError, BadJson):
        return ""
    return named(values) if isinstance(values, dict) else ""


def require_one_base(adapters: Sequence[str]) -> None:
    """Raise `BadInput` if adapters say that they were trained on different bases.

    Args:
        adapters: their paths.
    """
    bases = {path: named_base(path) for path in adapters}
    said = {path: base for path, base in bases.items() if base}
    first = next(iter(said), "")
    other = next((path for path in said if said[path] != said[first]), "")
    if other:
        raise BadInput(
            f"{first} and {other} are adapters of different bases, {said[first]} and "
            f"{said[other]}: their changes are of different models, and have no mean. If both "
            f"names are of one model, write the same one into both {CONFIG_FILE} "
            "(base_model_name_or_path)"
        )
