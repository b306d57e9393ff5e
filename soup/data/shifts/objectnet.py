"""ObjectNet's own mapping files: from its class folders to positions among ImageNet's 1,000.

Barbu et al., "ObjectNet", NeurIPS 2019. The files are joined as in the published evaluation of
model soups and of WiSE-FT (`datasets/objectnet.py` of mlfoundations/model-soups): an ObjectNet
class may stand for several of ImageNet's, and 113 of its 313 folders stand for any.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup.data.errors import DataError
from soup.data.shifts.imagenet import CLASSES
from soup.data.sources.lists import text_lines
from soup.errors import some
from soup.files import read_json

# The names of each file as downloaded; the names have varied.
FILES = {
    "folders": ("folder_to_objectnet_label.json",),
    "meaning": ("objectnet_to_imagenet_1k.json",),
    "numbers": ("pytorch_to_imagenet_2012_id.json",),
    "lines": ("imagenet_to_label_2012_v2", "imagenet_to_label_2012_v2.txt"),
}


def mappings(base: Path) -> dict[str, Path]:
    """Kind of mapping file -> path; files that are missing are left out.

    Args:
        base: the downloaded folder, or the folder 'images' in it.
    """
    folder = (base.parent if base.name == "images" else base) / "mappings"
    names = [(kind, name) for kind, names in FILES.items() for name in names]
    return {kind: folder / name for kind, name in names if (folder / name).is_file()}


def positions(base: Path) -> dict[str, tuple[int, ...]]:
    """Class folder -> positions of the ImageNet classes that it stands for.

    Raises:
        DataError: a file is missing, or the files do not fit together; all problems are listed.
    """
    files = mappings(base)
    missing = [" or ".join(names) for kind, names in FILES.items() if kind not in files]
    if missing:
        raise DataError(
            f"ObjectNet's mapping files are incomplete: no {some(missing, 10)} in the folder "
            f"'mappings' of {base}; put them there as downloaded"
        )
    folder_of = {label: folder for folder, label in _table(files["folders"], str, "names").items()}
    numbers = _table(files["numbers"], int, "whole numbers")
    if not all(key.isdecimal() for key in numbers):
        raise DataError(f"{files['numbers']}: keys must be numbers")
    position_of = {number: int(key) for key, number in numbers.items()}
    names_in_order = text_lines(files["lines"])
    # Two of the 1,000 lines are 'crane', which stands for nothing here; the last counts.
    number_of = {name: number for number, name in enumerate(names_in_order) if name}
    problems: list[str] = []
    result: dict[str, tuple[int, ...]] = {}
    for label, text in _table(files["meaning"], str, "names").items():
        names = text.split("; ")
        unknown = [name for name in names if number_of.get(name) not in position_of]
        problems += [f"{label} stands for {name!r}, which has no number" for name in unknown]
        if label not in folder_of:
            problems.append(f"{label} has no folder")
        elif not unknown:
            result[folder_of[label]] = tuple(position_of[number_of[name]] for name in names)
    problems += [
        f"{folder} has a position beyond {CLASSES - 1}"
        for folder, of_folder in result.items()
        if not all(0 <= position < CLASSES for position in of_folder)
    ]
    if problems:
        raise DataError(f"the mapping files in {base} do not fit together: {some(problems, 10)}")
    return result


def _table(path: Path, value: type, kind: str) -> Mapping[str, Any]:
    try:
        table = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(v, value) for v in table.values()):
        raise DataError(f"{path} must be a table of {kind}")
    return table
