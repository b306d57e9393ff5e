"""The checkpoints that a command was given."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from soup.errors import BadInput, some
from soup.weights.checkpoint import Checkpoint
from soup.weights.mapping import Incompatible, differences


@dataclass(frozen=True)
class Pool:
    """Checkpoints by name, in the order given, with what identifies each."""

    checkpoints: Mapping[str, Checkpoint]
    digests: Mapping[str, str]

    @property
    def twice(self) -> list[list[str]]:
        """Names of the same bytes."""
        groups: dict[str, list[str]] = {}
        for name, digest in self.digests.items():
            groups.setdefault(digest, []).append(name)
        return [names for names in groups.values() if len(names) > 1]


def open_pool(paths: Sequence[str], advance: Callable[[], object] = lambda: None) -> Pool:
    """Open checkpoints; every file that cannot be used is named at once.

    Raises:
        BadInput: some cannot be read.
    """
    opened: dict[str, Checkpoint] = {}
    problems = []
    for name, path in zip(names_of(paths), paths, strict=True):
        try:
            opened[name] = Checkpoint(path)
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))

    def digest(checkpoint: Checkpoint) -> str:
        found = checkpoint.digest()
        advance()
        return found

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        digests = list(threads.map(digest, opened.values()))
    return Pool(opened, dict(zip(opened, digests, strict=True)))


def names_of(paths: Sequence[str]) -> list[str]:
    """As little of each path as tells them apart: mostly the file's name without its suffix."""
    for parts in range(1, 6):
        names = [_last(path, parts) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    else:
        names = list(paths)
    seen: Counter[str] = Counter()
    unique = []
    for name in names:  # the same path twice: the caller is warned, not stopped
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _last(path: str, parts: int) -> str:
    shown = Path(path).with_suffix("") if path.endswith(".safetensors") else Path(path)
    return "/".join(shown.parts[-parts:])


def require_alike(pool: Pool) -> None:
    """Raise `Incompatible` with all that keeps any two of the models from being averaged."""
    (first, model), *others = pool.checkpoints.items()
    found = {name: differences(model, other) for name, other in others}
    if any(found.values()):
        raise Incompatible(
            "\n".join(
                f"{name} cannot be averaged with {first}:\n  " + some(problems, 8, "\n  ")
                for name, problems in found.items()
                if problems
            )
            + "\nfine-tune all of them from the same initialisation, head included"
        )


def open_base(path: str, pool: Pool) -> Checkpoint:
    """The models' initialisation; raises `Incompatible` if they cannot come from it."""
    base = Checkpoint(path)
    require_alike(Pool({"the base": base, **pool.checkpoints}, {}))
    return base
