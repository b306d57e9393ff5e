"""Names of tensors without what wrappers of a model (DDP, FSDP, torch.compile) put into them."""

import re
from collections.abc import Callable, Iterable, Sequence
from unicodedata import normalize

# Modules that other programs put around a module, wherever they stand in a name: torch.compile,
# torch's FSDP and activation checkpointing, the FSDP of fairscale and torch_xla, Lightning Fabric.
WRAPPERS = frozenset({
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module",
    "_forward_module",
})  # fmt: skip
# DataParallel and AveragedModel, torch.compile, Lightning modules, detectors and the like, Opacus,
# and the trained one of two models (distillation, DINO).
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "_module.", "student.", "net.")


def unwrap(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Old names -> names without wrappers, and the parts of the names that were removed.

    Removed are `WRAPPERS` anywhere, `PREFIXES` that all names share, and a "module" (DataParallel)
    that is the only child of a named part of the model. Below a number, as in
    "blocks.0.module.weight", it is taken for the model's own. If two names would become one,
    `WRAPPERS` stay. Unicode is composed: a Mac may write é as e and an accent.
    """
    new = _renamed({name: name for name in names}, lambda name: normalize("NFC", name))
    parts = dict.fromkeys(part for name in new.values() for part in name.split(".")[:-1])
    new = _renamed(new, _without_wrappers)
    left = {part for name in new.values() for part in name.split(".")}
    removed = [f"{part}." for part in parts if part in WRAPPERS - left]
    short, stripped = strip(new.values(), PREFIXES)
    new = {old: short[name] for old, name in new.items()}
    inner = _only_modules([*new.values()])
    for prefix in inner:
        outer = prefix.removesuffix("module.")
        new = {o: re.sub(f"^{re.escape(prefix)}", outer, name) for o, name in new.items()}
    return new, (*removed, *stripped, *inner)


def strip(names: Iterable[str], prefixes: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Old names -> names without the prefixes that all names share, and the removed prefixes.

    A prefix that only some names have is part of the model (`backbone.` beside `head.`) and stays.
    """
    new = {name: name for name in names}
    stripped: list[str] = []
    while new and (
        shared := next((p for p in prefixes if all(n.startswith(p) for n in new.values())), "")
    ):
        new = {name: short.removeprefix(shared) for name, short in new.items()}
        stripped.append(shared)
    return new, tuple(stripped)


def _renamed(names: dict[str, str], rename: Callable[[str], str]) -> dict[str, str]:
    """The names renamed, or as they are if two of them would become one."""
    new = {old: rename(name) for old, name in names.items()}
    return new if len({*new.values()}) == len(new) else names


def _without_wrappers(name: str) -> str:
    *modules, tensor = name.split(".")
    return ".".join([*(part for part in modules if part not in WRAPPERS), tensor])


def _only_modules(names: Sequence[str]) -> list[str]:
    """The prefixes ("features.module.") whose last part is a "module" without siblings."""
    found = dict.fromkeys(
        f"{before}.module."
        for before, part, _ in (name.partition(".module.") for name in names)
        if part and not any(component.isdigit() for component in before.split("."))
    )
    return [
        prefix
        for prefix in found
        if all(n.startswith(prefix) for n in names if n.startswith(prefix.removesuffix("module.")))
    ]
