"""ImageNet's 1,000 classes: their order, and which of them are the classes of a training set.

The position of a class is its index among the sorted WordNet ids ("wnids"), 0 to 999. ImageNetV2's
folders, ReaL's labels and the heads of published models use these numbers.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from soup.data.errors import DataError
from soup.errors import near, some

CLASSES = 1000
WNID = re.compile(r"n\d{8}")


def _set_bits(hexadecimal: str) -> tuple[int, ...]:
    number = int(hexadecimal, 16)
    return tuple(position for position in range(CLASSES) if number >> position & 1)


# The positions of the 200 classes of each set, as bits. The folders of the set are checked
# against them.
IMAGENET_R = _set_bits(
    "10b000a826ba8379000008008208080400108002011090200008194108000000001020002000000000060000202022"
    "220016088804004804000000080000008811e0c20182285200608222500011e60a0936c4888cf0293b02302a984ca4"
    "0d80080188880804180f08db001424020a1b4410908080008080a4c02b56"
)
IMAGENET_A = _set_bits(
    "1d301800b48a827010020812050180404804a08a8090a01c210419612841240100008001200094201004000f000c00"
    "42c0002008b2062120c80500140001114801406300206052130897200404100a000801c4d8aefc2488882000004000"
    "0c00000080000000000000c1801430025a0b460090c0020484a048c2a840"
)


@cache
def wnids() -> tuple[str, ...]:
    """The 1,000 wnids, sorted, from timm's table."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


@cache
def _positions() -> Mapping[str, int]:
    return {wnid: position for position, wnid in enumerate(wnids())}


@cache
def _names() -> tuple[Mapping[str, set[int]], Mapping[str, set[int]]]:
    """Two tables, name -> positions: the primary names of the classes, and their other names.

    Primary names are the first WordNet lemma, all lemmas joined by commas, and the name in
    OpenAI's prompts. Other names are the other lemmas.
    """
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    described = ImageNetInfo("imagenet-1k").label_descriptions()
    first: defaultdict[str, set[int]] = defaultdict(set)
    other: defaultdict[str, set[int]] = defaultdict(set)
    for position, (lemmas, prompt) in enumerate(zip(described, IMAGENET_CLASSNAMES, strict=True)):
        synonyms = lemmas.split(", ")
        for name in (lemmas, synonyms[0], prompt):
            first[_plain(name)].add(position)
        for name in synonyms[1:]:
            other[_plain(name)].add(position)
    return first, other


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def position(name: str) -> int | None:
    """The position of the class with a wnid or name; None for no class or several ('crane')."""
    if WNID.fullmatch(name):
        return _positions().get(name)
    for names in _names():
        if positions := names.get(_plain(name)):
            return min(positions) if len(positions) == 1 else None
    return None


def recognised(classes: Sequence[str]) -> dict[int, str]:
    """Position -> train's name of the class, for classes that are ImageNet's or a subset of them.

    A class is recognised by its wnid, by its first WordNet lemma, by its name in OpenAI's prompts,
    or by another lemma that no other class has. Case and underscores do not matter.

    Raises:
        DataError: a name is no class of ImageNet, stands for several classes, or for the class of
            another name; all such names are listed.
    """
    name_of: dict[int, str] = {}
    problems: list[str] = []
    for name in classes:
        index = position(name)
        if index is None:
            problems.append(name + _hint(name))
        elif index in name_of:
            problems.append(f"{name} (the same class as {name_of[index]})")
        else:
            name_of[index] = name
    if problems:
        raise DataError(
            "train's classes must be ImageNet's, named by wnid (n01440764) or by a name that is "
            f"one class's alone; these are not: {some(problems, 10)}"
        )
    return name_of


def _hint(name: str) -> str:
    if WNID.fullmatch(name):
        return ""
    first, other = _names()
    several = first.get(_plain(name)) or other.get(_plain(name))
    if several:
        return f" (may be {' or '.join(wnids()[index] for index in sorted(several))})"
    return near(_plain(name), [single for single in first if ", " not in single])
