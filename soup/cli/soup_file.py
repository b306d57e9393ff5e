"""soup cook: the soup is written, with the digests of what it was made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from soup.cli.checkpoints import Pool
from soup.cli.terminal import progress, say
from soup.terminal.progress import BYTES
from soup.weights import Weights
from soup.weights.checkpoint import save
from soup.weights.digesting import Digesting
from soup.weights.mapping import tensor_bytes


def write_soup(
    weights: Weights, out: Path, pool: Pool, kept: Sequence[str], notes: Mapping[str, str]
) -> dict[str, str]:
    """Write a soup; digests of models that are not known yet are computed while they are averaged.

    Args:
        kept: names of the models that the soup is made of.
        notes: the metadata of its file, but for the digests of the models.

    Returns:
        The metadata that was written.
    """
    new_folder = not out.parent.exists()
    if pool.digests:
        written = {**notes, **ingredients_note(kept, pool.digests)}
        save(weights, out, written)
    else:
        digests = _save_and_hash(weights, out, pool, kept, notes)
        replace(pool, digests=digests).warn_of_twins()
        written = {**notes, **ingredients_note(kept, digests)}
    if new_folder:
        say(f"made the folder {out.parent}")
    return written


def _save_and_hash(
    weights: Weights, out: Path, pool: Pool, kept: Sequence[str], notes: Mapping[str, str]
) -> dict[str, str]:
    """Write a soup, and return the digest of each model by name."""
    files = {name: checkpoint.files for name, checkpoint in pool.checkpoints.items()}
    digests: dict[str, str] = {}
    size = tensor_bytes(weights)
    with Digesting(files) as digesting, progress("averaging", size, BYTES) as written:
        shown = 0

        def advance(share: float) -> None:
            nonlocal shown
            digesting.advance(share)
            written(int(share * size) - shown)
            shown = int(share * size)

        def complete() -> dict[str, str]:
            digests.update(digesting.finish())
            for checkpoint in pool.checkpoints.values():  # the digests are of what was read
                checkpoint.require_unchanged()
            return {**notes, **ingredients_note(kept, digests)}

        start = {**notes, **ingredients_note(kept, digesting.placeholders)}
        save(weights, out, start, advance=advance, complete=complete)
    return digests


def ingredients_note(kept: Sequence[str], digests: Mapping[str, str]) -> dict[str, str]:
    """The metadata that names the models in a soup, with their digests."""
    return {"ingredients": json.dumps({name: digests[name] for name in dict.fromkeys(kept)})}
