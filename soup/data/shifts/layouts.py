"""The folder layouts of distribution shifts, as they are downloaded, and how each is scored.

Each layout is an entry of the table `LAYOUTS`. The scores follow the published evaluation of model
soups and of WiSE-FT (`datasets/` of mlfoundations/model-soups and mlfoundations/wise-ft). On
ImageNetV2 and ImageNet-Sketch the model chooses among the 1,000 classes, on ImageNet-R and
ImageNet-A among their 200 classes. On ObjectNet it chooses among the 113 ObjectNet classes that
ImageNet has, each with the largest logit of its ImageNet classes; a border of two pixels, in which
its images have a red frame, is cut off.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from soup.data.errors import DataError
from soup.data.shifts import class_map, objectnet
from soup.data.shifts.imagenet import (
    CLASSES,
    IMAGENET_A,
    IMAGENET_R,
    WNID,
    position,
    recognised,
    wnids,
)
from soup.data.sources.folders import Found
from soup.errors import near, some

Meaning = Mapping[str, tuple[str, ...]]  # class folder -> train's classes; () leaves it out


@dataclass(frozen=True)
class ShiftFolder:
    """What is known of a shift before its layout.

    Attributes:
        base: the folder of the shift.
        folders: names of the class folders that hold its images.
        classes: names of train's classes, sorted.
        map: the user's class map, if there is one.
    """

    base: Path
    folders: frozenset[str]
    classes: Sequence[str]
    map: Path | None


@dataclass(frozen=True)
class Layout:
    """How a kind of shift is laid out and scored.

    Attributes:
        looks: what the folder of the shift holds, in words.
        meaning: class folder -> the classes that it stands for; all these folders must exist.
        folder: image -> name of its class folder.
        among_present: whether the model chooses among the classes that occur in the shift, instead
            of all classes that the layout has.
        others: whether there may be other class folders, whose images are left out.
        border: pixels that are cut off each side of an image.
    """

    looks: str
    meaning: Callable[[ShiftFolder], Meaning]
    folder: Callable[[Found], str] = lambda image: image.label
    among_present: bool = False
    others: bool = False
    border: int = 0


def _by_name(shift: ShiftFolder) -> Meaning:
    unknown = sorted(shift.folders - set(shift.classes))
    if unknown:
        told = [folder + near(folder, shift.classes) for folder in unknown]
        raise DataError(f"classes that train does not have: {some(told, 20)}")
    return {folder: (folder,) for folder in shift.folders}


def _by_index(shift: ShiftFolder) -> Meaning:
    count = len(shift.classes)
    wrong = sorted(f for f in shift.folders if not (f.isdecimal() and int(f) < count))
    if wrong:
        raise DataError(f"folders that are no class index below {count}: {some(wrong, 20)}")
    return {folder: (shift.classes[int(folder)],) for folder in shift.folders}


def _by_map(shift: ShiftFolder) -> Meaning:
    """The user's class map; it may use train's names or other names of ImageNet's classes."""
    assert shift.map is not None
    meaning = class_map.read(shift.map)
    others = {name for names in meaning.values() for name in names} - set(shift.classes)
    name_of = _train_names(others, shift.classes)
    unknown = [name + near(name, shift.classes) for name in sorted(others - name_of.keys())]
    if unknown:
        raise DataError(f"{shift.map} names classes that train does not have: {some(unknown, 10)}")
    return {folder: tuple(name_of.get(n, n) for n in names) for folder, names in meaning.items()}


def _train_names(names: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """Other names of ImageNet's classes -> train's names; empty if train's are not ImageNet's."""
    positions = {name: position(name) for name in names}
    try:
        name_of = recognised(classes) if positions else {}
    except DataError:
        return {}
    return {n: name_of[p] for n, p in positions.items() if p is not None and p in name_of}


def _official(
    positions: Callable[[ShiftFolder], Mapping[str, tuple[int, ...]]],
) -> Callable[[ShiftFolder], Meaning]:
    """The meaning of folders that stand for positions among ImageNet's 1,000 classes.

    Classes that train does not have are left out.
    """

    def meaning(shift: ShiftFolder) -> Meaning:
        name_of = recognised(shift.classes)
        return {
            folder: tuple(name_of[p] for p in of_folder if p in name_of)
            for folder, of_folder in positions(shift).items()
        }

    return meaning


def _by_wnid(positions: Iterable[int]) -> Callable[[ShiftFolder], Meaning]:
    return _official(lambda _: {wnids()[p]: (p,) for p in positions})


EVERY = range(CLASSES)
LAYOUTS: dict[str, Layout] = {
    "name": Layout("class folders named as train's", _by_name, among_present=True),
    "index": Layout(
        "class folders named by position among train's sorted", _by_index, among_present=True
    ),
    "map": Layout("class folders that a class map (classes: FILE) explains", _by_map),
    "imagenetv2": Layout("folders 0 to 999", _official(lambda _: {str(p): (p,) for p in EVERY})),
    "imagenet-r": Layout("ImageNet-R's 200 folders, named by wnid", _by_wnid(IMAGENET_R)),
    "imagenet-a": Layout("ImageNet-A's 200 folders, named by wnid", _by_wnid(IMAGENET_A)),
    "imagenet-sketch": Layout("1,000 folders, named by wnid", _by_wnid(EVERY)),
    "objectnet": Layout(
        "folders 'images' (of class folders) and 'mappings' (of ObjectNet's JSON files)",
        _official(lambda shift: objectnet.positions(shift.base)),
        folder=lambda image: PurePosixPath(image.path).parent.name,
        others=True,
        border=2,
    ),
}


def recognise(shift: ShiftFolder) -> str:
    """The name of the layout of a shift, recognised by its class folders.

    Raises:
        DataError: no layout fits; the message lists the layouts and the folders.
    """
    if shift.map is not None:
        return "map"
    if objectnet.mappings(shift.base):
        return "objectnet"
    if not shift.folders <= set(shift.classes) and shift.folders == {str(p) for p in EVERY}:
        return "imagenetv2"
    if all(WNID.fullmatch(folder) for folder in shift.folders):
        by_wnid = {"imagenet-r": IMAGENET_R, "imagenet-a": IMAGENET_A, "imagenet-sketch": EVERY}
        for kind, positions in by_wnid.items():
            if shift.folders == {wnids()[p] for p in positions}:
                return kind
    if shift.folders & set(shift.classes):
        return "name"
    layouts = "\n".join(f"  {kind}: {layout.looks}" for kind, layout in LAYOUTS.items())
    raise DataError(
        f"{shift.base} is in no known layout: it holds the folders "
        f"{some(sorted(shift.folders), 10)}; looked for\n{layouts}\n"
        "  say which with its 'layout', or give a class map with 'classes: FILE'"
    )
