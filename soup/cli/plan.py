"""soup cook --dry-run: what would be read, written and needed."""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soup.cli.cook_options import CookOptions
from soup.errors import some
from soup.weights.mapping import tensor_bytes

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.weights.checkpoint import Checkpoint

SAMPLE = 1 << 24  # numbers that are summed, and bytes that are hashed, to estimate the time
PARTS = 3  # of a tensor that a thread has in memory: what it sums, and what waits to be written


def tell_plan(options: CookOptions, pool: "Pool", arguments: Mapping[str, Any]) -> None:
    """Print the plan of a soup: files, tensors, bytes, memory and time. Nothing is written.

    Args:
        options: what was asked for.
        pool: the models, checked.
        arguments: of the recipe.
    """
    from soup.cli.terminal import print_json, say, table

    plan = plan_of(options, pool)
    plan["options"] = {name: value for name, value in arguments.items() if name != "accumulate"}
    if options.as_json:
        print_json(plan)
        return
    rows = [
        (name, len(model), gigabytes(tensor_bytes(model)))
        for name, model in pool.checkpoints.items()
    ]
    table("would read", ["model", ">tensors", ">size"], rows)
    often = (
        "once"
        if options.heldout is None
        else ("at least twice, and as often as the recipe tries it on held-out images")
    )
    say(f"each {often}: {gigabytes(plan['read'])} in all")
    if kinds := plan["not averaged"]:
        say(f"not averaged: {'; '.join(f'{n} {rule}' for rule, n in kinds.items())}")
    replaces = " (which it would replace)" if options.out.exists() else ""
    size, free = gigabytes(plan["write"]), gigabytes(plan["free memory"])
    say(f"would write {options.out}{replaces}: {plan['tensors']} tensors, {size}")
    say(f"memory: about {gigabytes(plan['memory'])}, of {free} that are free")
    judged = "" if options.heldout is None else ", without the held-out images that it judges by"
    say(f"time: about {duration(plan['seconds'])}{judged}")
    if plan["free disk"] < plan["write"]:
        say(f"the disk has {gigabytes(plan['free disk'])} left, which is too little")
    say("nothing was written (--dry-run)")


def plan_of(options: CookOptions, pool: "Pool") -> dict[str, Any]:
    """The plan in numbers: bytes, seconds, and counts of tensors."""
    import torch

    from soup.weights import average
    from soup.weights.kinds import BECOMES, kind_of
    from soup.weights.streaming_sum import CHUNK

    models = [*pool.checkpoints.values()]
    first = models[0]
    dtype = getattr(torch, options.dtype) if options.dtype else None
    mean = average(models, None, getattr(torch, options.accumulate), dtype)
    kinds: dict[str, list[str]] = {}
    for name in first:
        if (rule := kind_of(name, first.specs).rule) != "averaged":
            kinds.setdefault(BECOMES[rule], []).append(name)
    read, write = sum(map(tensor_bytes, models)), tensor_bytes(mean)
    threads = torch.get_num_threads()
    parts = PARTS * (threads + 1) * CHUNK * 8
    judged = tensor_bytes(first) if options.heldout is not None else 0
    return {
        "models": {name: tensor_bytes(model) for name, model in pool.checkpoints.items()},
        "out": str(options.out),
        "recipe": options.recipe,
        "tensors": len(first),
        "read": read if options.heldout is None else 2 * read,
        "write": write,
        "not averaged": {rule: some(names, 4) for rule, names in kinds.items()},
        "memory": _resident() + parts + judged,
        "free memory": os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "free disk": _free(options.out),
        "seconds": _seconds(models, mean, read, write),
    }


def _seconds(models: "list[Checkpoint]", mean: Any, read: int, write: int) -> float:
    """The time for digests and sum, from that of a part of them."""
    start = time.perf_counter()
    summed = 0
    for block in mean.blocks(name for name, spec in mean.specs.items() if spec.tied == name):
        summed += block.nbytes
        if summed >= SAMPLE or time.perf_counter() - start > 1:
            break
    seconds = (time.perf_counter() - start) * write / max(1, summed)
    file = Path(models[0].files[0])
    if file.is_file():
        start = time.perf_counter()
        with file.open("rb") as opened:
            hashed = opened.read(SAMPLE)
        hashlib.sha256(hashed).digest()
        seconds += (time.perf_counter() - start) * read / max(1, len(hashed))
    return seconds


def _resident() -> int:
    """The bytes of memory that this process has now: Python and torch."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 400 << 20
    return pages * os.sysconf("SC_PAGE_SIZE")


def _free(out: Path) -> int:
    import shutil

    folder = next(parent for parent in out.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
