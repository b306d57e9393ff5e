"""What `soup cook` does with single tensors: --exclude and --take."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from soup.cli.cook_options import CookOptions
from soup.errors import BadInput, near, some

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.weights.checkpoint import Checkpoint

TAKEN = ("first", "last", "mean")


def chosen(options: CookOptions, pool: "Pool") -> "Pool":
    """The models without what --exclude names, and with what --take takes from one of them.

    Raises:
        BadInput: a pattern is of no tensor, or a choice is none.
    """
    if not options.exclude and not options.take:
        return pool
    models = pool.checkpoints
    return replace(
        pool,
        checkpoints={name: view(options, pool, model) for name, model in models.items()},
    )


def view(options: CookOptions, pool: "Pool", model: "Checkpoint") -> "Checkpoint":
    """A model (or their base) with the choices of tensors that were made.

    Args:
        options: with the choices.
        pool: the models as they were given, which the choices are about.
        model: to be seen through them.
    """
    from soup.weights.view import View

    models = [*pool.checkpoints.values()]
    names = dict.fromkeys(name for other in models for name in other)
    left_out = {n for pattern in options.exclude or [] for n in _named(pattern, names, "--exclude")}
    if len(left_out) == len(names):
        raise BadInput("--exclude leaves no tensor to average")
    donors = {"first": models[0], "last": models[-1]}
    taken = {
        name: donors[how]
        for name, how in _taken(options.take or [], names, models[0]).items()
        if how in donors
    }
    missing = [f"{name} ({donor})" for name, donor in taken.items() if name not in donor]
    if missing:
        raise BadInput(f"--take: the model has no such tensor: {some(missing, 5)}")
    kept = [n for n in dict.fromkeys([*model, *taken]) if n not in left_out]
    return View(model, {n: (taken.get(n, model), n) for n in kept})


def _taken(choices: Sequence[str], names: Iterable[str], first: "Checkpoint") -> dict[str, str]:
    """What becomes of each tensor that a choice names; the last choice that names it counts."""
    from soup.weights.kinds import kind_of

    taken: dict[str, str] = {}
    for choice in choices:
        pattern, sign, how = choice.rpartition("=")
        if not sign or how not in TAKEN:
            raise BadInput(f"--take {choice}: give NAME=first, NAME=last or NAME=mean")
        taken |= dict.fromkeys(_named(pattern, names, "--take"), how)
    none = [
        name
        for name, how in taken.items()
        if how == "mean" and name in first and kind_of(name, first.specs).rule != "averaged"
    ]
    if none:
        kind = kind_of(none[0], first.specs)
        raise BadInput(
            f"--take {none[0]}=mean: it is of the kind '{kind.name}', which has no mean; take "
            "first or last"
        )
    return taken


def _named(pattern: str, names: Iterable[str], option: str) -> list[str]:
    """The names that a pattern with * and ? fits.

    Raises:
        BadInput: it fits none.
    """
    found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
    if not found:
        raise BadInput(f"{option} {pattern}: no model has such a tensor{near(pattern, names)}")
    return found
