"""The layouts that distribution shifts come in, as downloaded, and how each is scored.

A shift is a value: a row of `LAYOUTS`. The scores follow the published evaluation of model soups
and of WiSE-FT (`datasets/` of mlfoundations/model-soups and mlfoundations/wise-ft): ImageNetV2 and
-Sketch are answered among the 1,000 classes, ImageNet-R and -A among their 200 alone, ObjectNet
among its 113 classes that ImageNet has, by the largest logit of the ImageNet classes that each
stands for, and without a border of two pixels, in which its images carry a red frame.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from soup.data.shifts import class_map, objectnet
from soup.data.shifts.imagenet import (
    CLASSES,
    IMAGENET_A,
    IMAGENET_R,
    WNID,
    near,
    position,
    recognised,
    wnids,
)
from soup.data.sources.folders import DataError, Found
from soup.errors import some

Meaning = Mapping[str, tuple[str, ...]]  # class folder -> train's classes; none: it is left out


@dataclass(frozen=True)
class Place:
    """A shift's folder, the class folders that hold its images, and train's classes."""

    base: Path
    folders: frozenset[str]
    classes: Sequence[str]
    map: Path | None


@dataclass(frozen=True)
class Layout:
    """How a kind of shift is laid out and scored.

    Attributes:
        looks: what its folder holds.
        meaning: what its class folders mean; all of them must be there.
        folder: the class folder of an image.
        among_present: it is answered among the classes that it has, rather than all it could have.
        others: it may have folders that mean nothing.
        border: pixels cut off each side of an image.
    """

    looks: str
    meaning: Callable[[Place], Meaning]
    folder: Callable[[Found], str] = lambda image: image.label
    among_present: bool = False
    others: bool = False
    border: int = 0


def _by_name(place: Place) -> Meaning:
    unknown = sorted(place.folders - set(place.classes))
    if unknown:
        told = [folder + near(folder, place.classes) for folder in unknown]
        raise DataError(f"classes that train does not have: {some(told, 20)}")
    return {folder: (folder,) for folder in place.folders}


def _by_index(place: Place) -> Meaning:
    count = len(place.classes)
    wrong = sorted(f for f in place.folders if not (f.isdecimal() and int(f) < count))
    if wrong:
        raise DataError(f"folders that are no class index below {count}: {some(wrong, 20)}")
    return {folder: (place.classes[int(folder)],) for folder in place.folders}


def _by_map(place: Place) -> Meaning:
    """The user's own map; its names may be train's, or others that ImageNet's classes have."""
    assert place.map is not None
    meaning = class_map.read(place.map)
    strange = {name for names in meaning.values() for name in names} - set(place.classes)
    own = _own_names(strange, place.classes)
    unknown = [name + near(name, place.classes) for name in sorted(strange - own.keys())]
    if unknown:
        raise DataError(f"{place.map} names classes that train does not have: {some(unknown, 10)}")
    return {
        folder: tuple(own.get(name, name) for name in names) for folder, names in meaning.items()
    }


def _own_names(names: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """Other names of ImageNet's classes -> train's, where train's classes are ImageNet's."""
    places = {name: position(name) for name in names}
    try:
        known = recognised(classes) if places else {}
    except DataError:
        return {}
    return {name: known[at] for name, at in places.items() if at is not None and at in known}


def _official(
    positions: Callable[[Place], Mapping[str, tuple[int, ...]]],
) -> Callable[[Place], Meaning]:
    """Folders that mean positions among ImageNet's 1,000; of these, what train has."""

    def meaning(place: Place) -> Meaning:
        known = recognised(place.classes)
        return {
            folder: tuple(known[at] for at in each if at in known)
            for folder, each in positions(place).items()
        }

    return meaning


def _by_wnid(positions: Iterable[int]) -> Callable[[Place], Meaning]:
    return _official(lambda _: {wnids()[at]: (at,) for at in positions})


EVERY = range(CLASSES)
LAYOUTS: dict[str, Layout] = {
    "name": Layout("class folders named as train's", _by_name, among_present=True),
    "index": Layout(
        "class folders named by position among train's sorted", _by_index, among_present=True
    ),
    "map": Layout("class folders that a class map (classes: FILE) explains", _by_map),
    "imagenetv2": Layout("folders 0 to 999", _official(lambda _: {str(at): (at,) for at in EVERY})),
    "imagenet-r": Layout("ImageNet-R's 200 folders, named by wnid", _by_wnid(IMAGENET_R)),
    "imagenet-a": Layout("ImageNet-A's 200 folders, named by wnid", _by_wnid(IMAGENET_A)),
    "imagenet-sketch": Layout("1,000 folders, named by wnid", _by_wnid(EVERY)),
    "objectnet": Layout(
        "folders 'images' (of class folders) and 'mappings' (of ObjectNet's JSON files)",
        _official(lambda place: objectnet.positions(place.base)),
        folder=lambda image: PurePosixPath(image.path).parent.name,
        others=True,
        border=2,
    ),
}


def recognise(place: Place) -> str:
    """The layout that a folder is in, by what it holds.

    Raises:
        DataError: none that is known; the message says what was looked for and what is there.
    """
    if place.map is not None:
        return "map"
    if objectnet.mappings(place.base):
        return "objectnet"
    if not place.folders <= set(place.classes) and place.folders == {str(at) for at in EVERY}:
        return "imagenetv2"
    if all(WNID.fullmatch(folder) for folder in place.folders):
        held = {"imagenet-r": IMAGENET_R, "imagenet-a": IMAGENET_A, "imagenet-sketch": EVERY}
        for kind, positions in held.items():
            if place.folders == {wnids()[at] for at in positions}:
                return kind
    if place.folders & set(place.classes):
        return "name"
    known = "\n".join(f"  {kind}: {layout.looks}" for kind, layout in LAYOUTS.items())
    raise DataError(
        f"{place.base} is in no known layout: it holds the folders "
        f"{some(sorted(place.folders), 10)}; looked for\n{known}\n"
        "  say which with its 'layout', or give a class map with 'classes: FILE'"
    )
