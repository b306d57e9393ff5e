"""soup cook --rank: a soup of adapters written as an adapter."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from soup.cli.cook_options import CookOptions
from soup.errors import BadInput

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.recipes.ingredient import Soup
    from soup.weights import Weights

# Recipes whose soup is a mean of whole models.
MEANS = ("uniform", "greedy", "removal", "repetition", "pruned", "radin")
SUM = "sum"


def require_rank(options: CookOptions, pool: "Pool") -> None:
    """Raise `BadInput` if the soup cannot be written as an adapter."""
    from soup.weights.adapters import Adapted

    if options.rank is None:
        return
    if options.rank != SUM and not (options.rank.isdecimal() and int(options.rank) > 0):
        raise BadInput(f"--rank {options.rank}: give a whole number, or 'sum' for the exact soup")
    if options.recipe not in MEANS or options.settings:
        raise BadInput(f"--rank is of a mean of whole models: {', '.join(MEANS)}, without --set")
    if options.exclude or options.take or options.dtype or options.mlflow:
        raise BadInput("--rank goes without --exclude, --take, --dtype and --mlflow")
    whole = [name for name, model in pool.checkpoints.items() if not isinstance(model, Adapted)]
    if whole:
        raise BadInput(f"--rank: {whole[0]} is no adapter, and so the soup is none: leave it out")
    if options.out.exists() and not options.out.is_dir():
        raise BadInput(f"--out {options.out} is a file: with --rank, name a folder")


def write_adapter(
    options: CookOptions, pool: "Pool", soup: "Soup", weights: "Weights", notes: dict[str, str]
) -> dict[str, Any]:
    """Write the soup as an adapter's folder, and say how far it is from the soup.

    Returns:
        Figures for the report.
    """
    from soup.cli.shares import shares_of
    from soup.cli.terminal import say
    from soup.files import atomic_write
    from soup.weights import Checkpoint, save
    from soup.weights.adapters import Adapted, Adapter
    from soup.weights.adapters.as_adapter import as_adapter
    from soup.weights.adapters.config import CONFIG_FILE
    from soup.weights.adapters.folder import WEIGHTS_FILE

    counts: dict[str, float] = dict(Counter(soup.kept))
    if options.weights:
        given = shares_of(options.weights, len(pool.checkpoints))
        counts = dict(zip(pool.checkpoints, given, strict=True))
    total = sum(counts.values())
    models: list[Adapted] = [pool.checkpoints[name] for name in counts]  # type: ignore[misc]
    rank = None if options.rank == SUM else int(str(options.rank))
    made = as_adapter(models, [count / total for count in counts.values()], rank)
    if not options.out.exists():
        say(f"made the folder {options.out}")
    save(made.tensors, options.out / WEIGHTS_FILE, notes)
    with atomic_write(options.out / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(made.settings, indent=2, sort_keys=True) + "\n")
    written = Adapted(Adapter.open(str(options.out)), Checkpoint(str(options.base)))
    gap = max(
        float((written[n].double() - weights[n].double()).abs().max())
        for n in (*written.changed, *written.whole)
    )
    say(f"an adapter of rank {made.rank}; its weights are at most {gap:.1e} from the soup's")
    if made.lost:
        worst = max(made.lost_of, key=made.lost_of.__getitem__)
        say(
            f"the smaller rank leaves out {100 * made.lost:.2f}% of the change's length, "
            f"{100 * made.lost_of[worst]:.2f}% in {worst}"
        )
    return {"rank": made.rank, "largest_difference": gap, "left_out": made.lost}
