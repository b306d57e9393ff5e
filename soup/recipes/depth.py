"""How deep each tensor of a network is, told by the names of its blocks."""

import re
from collections.abc import Iterable

from soup.recipes.ingredient import Unusable
from soup.recipes.learned import NUMBERED_BLOCK

NUMBER = re.compile(r"\d+")
# Names of what stands before the first block in the networks of timm, open_clip and transformers.
STEM = re.compile(r"(^|\.)(\w*(embed|stem|token)\w*|patch\w*|conv1|bn1|ln_pre|norm_pre)(\.|$)")


def depths(names: Iterable[str]) -> dict[str, float]:
    """Return the depth of each tensor: 0 in the first block, 1 in the last, evenly between.

    Blocks are told by the numbers in names and are in the order of these (2 before 10), each tower
    of a network on its own. A tensor outside the blocks has depth 0 if its name is that of an
    embedding or a stem, else 1 (a last norm, a head).

    Raises:
        Unusable: no name holds a number.
    """
    names = [*names]
    towers: dict[str, set[tuple[int, ...]]] = {}
    for name in names:
        if block := _block(name):
            towers.setdefault(block[0], set()).add(block[1])
    if not towers:
        raise Unusable(
            "depth needs blocks that are numbered in the names of tensors, and there are none "
            "(blocks.0.attn.weight): leave the option out"
        )
    order = {tower: sorted(blocks) for tower, blocks in towers.items()}
    found = {}
    for name in names:
        block = _block(name)
        if block is None:
            found[name] = 0.0 if STEM.search(name) else 1.0
        else:
            blocks = order[block[0]]
            last = len(blocks) - 1
            found[name] = blocks.index(block[1]) / last if last else 1.0
    return found


def _block(name: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the tower of a tensor and the numbers of its block; None outside the blocks."""
    numbered = NUMBERED_BLOCK.match(name)
    if numbered is None or STEM.search(numbered[1]):
        return None
    return NUMBER.split(numbered[1])[0], tuple(map(int, NUMBER.findall(numbered[1])))
