"""The checkpoints that a verb is given: opened, named, and compared."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from soup.cli.terminal import progress, say, warn
from soup.cores import cores
from soup.errors import BadInput, some
from soup.files import BadJson, of_file, read_json
from soup.terminal.progress import BYTES
from soup.weights import Weights
from soup.weights.adapters import Adapted, Adapter, is_adapter, named_base, require_one_base
from soup.weights.checkpoint import Checkpoint
from soup.weights.mapping import Incompatible, differences, shapes, tensor_bytes
from soup.weights.mergeable import MergeWarning, notes, require_mergeable
from soup.weights.remedies import encoder_prefix, remedy
from soup.weights.view import View, without_wrappers

TOKENIZER = "tokenizer.json"  # beside the weights of a text model
CONFIG = "config.json"  # of transformers or timm, beside the weights
# Its keys that say what is computed with tensors of given shapes.
COMPUTES = ("model_type", "architecture", "num_attention_heads", "hidden_act")


@dataclass(frozen=True)
class Pool:
    """Checkpoints by name, in the order given.

    Attributes:
        digests: the SHA-256 of each, by name; none as long as they are not computed.
    """

    checkpoints: Mapping[str, Checkpoint]
    digests: Mapping[str, str]

    @property
    def has_adapters(self) -> bool:
        """Whether some are adapters, merged into their base."""
        models = (m.model if isinstance(m, View) else m for m in self.checkpoints.values())
        return any(isinstance(model, Adapted) for model in models)

    @property
    def twice(self) -> list[list[str]]:
        """Groups of names whose checkpoints have the same bytes."""
        groups: dict[str, list[str]] = {}
        for name, digest in self.digests.items():
            groups.setdefault(digest, []).append(name)
        return [names for names in groups.values() if len(names) > 1]

    def warn_of_twins(self) -> None:
        """Warn of checkpoints that have the same bytes."""
        for names in self.twice:
            warn(f"{' and '.join(names)} are the same model, which then counts twice")


def open_pool(
    paths: Sequence[str],
    base: str | None = None,
    digested: bool = True,
) -> Pool:
    """Open checkpoints and compute their digests.

    Models whose names of tensors differ by wrappers alone are seen without those, which is said.

    Args:
        paths: files, shard indexes, folders or URLs; with a base, also adapters of PEFT.
        base: what adapters are merged into.
        digested: whether the digests are computed now; those of adapters always are.

    Raises:
        BadInput: some cannot be read; all of those are named.
    """
    opened: dict[str, Checkpoint] = {}
    problems = []
    merged = merger([path for path in paths if is_adapter(path)], base)
    for name, path in zip(names_of(paths), paths, strict=True):
        try:
            opened[name] = merged(path) if is_adapter(path) else Checkpoint(path)
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))

    models, wrappers = without_wrappers([*opened.values()])
    for path, removed in wrappers.items():
        say(f"{path}: the names are taken without wrappers ({removed}), as those of other models")
    opened = dict(zip(opened, models, strict=True))
    pool = Pool(opened, {})
    if not digested and not pool.has_adapters:
        return pool

    def digest(checkpoint: Checkpoint) -> str:
        value = checkpoint.digest()
        advance(tensor_bytes(checkpoint))
        return value

    size = sum(map(tensor_bytes, opened.values()))
    with progress("reading", size, BYTES) as advance, ThreadPoolExecutor(cores()) as threads:
        digests = list(threads.map(digest, opened.values()))
    return replace(pool, digests=dict(zip(opened, digests, strict=True)))


def merger(adapters: Sequence[str], base: str | None) -> Callable[[str], Checkpoint]:
    """A function that opens an adapter as the model that it makes of its base.

    Args:
        adapters: all that will be opened.
        base: the model that they were trained on.

    Raises:
        BadInput: there are adapters, and no base is given, or they name several.
    """
    if not adapters:
        return Checkpoint
    if base is None:
        named = named_base(adapters[0])
        raise BadInput(
            f"{adapters[0]} is an adapter of PEFT, which is no model without its base: give the "
            f"weights that it was trained on{f' ({named})' if named else ''} by --base"
        )
    require_one_base(adapters)
    weights = Checkpoint(base)
    digest = weights.digest()
    return lambda path: Adapted(Adapter.open(path), weights, digest)


def names_of(paths: Sequence[str]) -> list[str]:
    """Short names that tell paths apart: mostly the file's name without its suffix.

    A path that is given twice is numbered: "a", "a (2)".
    """
    for parts in range(1, 6):
        names = [_last(path, parts) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    else:
        names = list(paths)
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _last(path: str, parts: int) -> str:
    shown = Path(path).with_suffix("") if path.endswith(".safetensors") else Path(path)
    return "/".join(shown.parts[-parts:])


def require_alike(pool: Pool) -> None:
    """Raise `Incompatible` with every difference between the first model and each other one."""
    (first, model), *others = pool.checkpoints.items()
    problems_of = {name: differences(model, other) for name, other in others}
    found = {name: problems for name, problems in problems_of.items() if problems}
    if found:
        remedies = [remedy(shapes(model), shapes(pool.checkpoints[name])) for name in found]
        raise Incompatible(
            "\n".join(
                f"{name} cannot be averaged with {first}:\n  " + some(problems, 8, "\n  ")
                for name, problems in found.items()
            )
            + "\n"
            + "\n".join(dict.fromkeys(remedies))
        )
    _require_one_config(pool)
    _require_one_tokenizer(pool)
    require_mergeable([*pool.checkpoints.values()])


def _require_one_config(pool: Pool) -> None:
    """Raise `Incompatible` if models of the same shapes compute different things with them."""
    configs = {}
    for name, model in pool.checkpoints.items():
        file = Path(model.files[0]).parent / CONFIG
        try:
            values = read_json(file) if file.is_file() else None
        except (OSError, BadJson):
            continue  # it may be of anything, and nobody asked for it
        if isinstance(values, dict):
            configs[name] = {key: values.get(key) for key in COMPUTES}
    first = next(iter(configs), "")
    for name, values in configs.items():
        if key := next((key for key in COMPUTES if values[key] != configs[first][key]), ""):
            raise Incompatible(
                f"{name} cannot be averaged with {first}: {key} in {CONFIG} is {values[key]!r} "
                f"in the former and {configs[first][key]!r} in the latter"
            )


def _require_one_tokenizer(pool: Pool) -> None:
    """Raise `Incompatible` if text models have different tokenizers."""
    files = {n: Path(m.files[0]).parent / TOKENIZER for n, m in pool.checkpoints.items()}
    digests = {name: of_file(file) for name, file in files.items() if file.is_file()}
    first = next(iter(digests), "")
    other = next((name for name, digest in digests.items() if digest != digests[first]), "")
    if other:
        raise Incompatible(
            f"{other} cannot be averaged with {first}: their tokenizers ({TOKENIZER}) differ, so "
            "that the same row of an embedding stands for other tokens"
        )


def warn_of_merge(pool: Pool, dtype: str | None = None) -> None:
    """Print what a user should know of an average of the models, in the dtype if one is given."""
    warnings.simplefilter("ignore", MergeWarning)  # the same, as Python prints it
    for note in notes([*pool.checkpoints.values()], getattr(torch, dtype) if dtype else None):
        warn(note)


def open_base(
    path: str, pool: Pool, seen: Callable[[Checkpoint], Checkpoint] | None = None
) -> Checkpoint:
    """The models' initialisation; raises `Incompatible` if they cannot come from it.

    Args:
        path: of the initialisation.
        pool: the models.
        seen: makes of it what has been made of the models.
    """
    base = Checkpoint(path) if seen is None else seen(Checkpoint(path))
    name, model = next(iter(pool.checkpoints.items()))
    if problems := differences(base, model):
        cause = remedy(shapes(base), shapes(model))
        if encoder_prefix(shapes(base), shapes(model)) is not None:
            cause = (
                "it is the published encoder of these models, without their head: give the weights "
                "that they started from, head included (model.state_dict() before the first step), "
                "or leave --base out"
            )
        raise Incompatible(
            f"{path} (the first) is not what {name} (the second) was fine-tuned from:\n  "
            + some(problems, 8, "\n  ")
            + f"\n{cause}"
        )
    return base


def open_origin(path: str, pool: Pool) -> tuple[Weights, str]:
    """The models' initialisation to measure distances from, and its digest.

    It may be the published encoder of the models, without a head or with another one.

    Raises:
        Incompatible: the models do not hold its tensors.
    """
    from soup.evaluation.diagnosis.base import Encoder

    base = Checkpoint(path)
    model = next(iter(pool.checkpoints.values()))
    if not differences(base, model):
        return base, base.digest()
    if encoder_prefix(shapes(base), shapes(model)) is None:
        open_base(path, pool)
    encoder = Encoder(base, model)
    warn(
        f"{path} has no {some(encoder.lacks, 4)} of these shapes: the distances from it are those "
        "of the other tensors"
    )
    return encoder, base.digest()
