"""The folders from which the images of a list or a manifest may be read.

The parameters are trusted; a list or a manifest may come from other people. Paths in a list, and
the targets of links, must be in the list's own folder, the data root or the folders of
`data.roots`. Only the parameters can name a Hugging Face data set, because its rows would be
downloaded.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from soup.config.data import Data, Source
from soup.config.text import without_task
from soup.data.errors import DataError
from soup.data.reading import hugging_face, image_file
from soup.errors import some


@dataclass(frozen=True)
class Bounds:
    """Folders that images may be in.

    Attributes:
        folders: absolute paths, without '..'.
        data_sets: names of the allowed Hugging Face data sets.
    """

    folders: tuple[str, ...]
    data_sets: frozenset[str] = frozenset()

    @staticmethod
    def of(*folders: Path, data_sets: Iterable[str] = ()) -> "Bounds":
        """The bounds of folders, which are absolute or relative to the working directory."""
        return Bounds(tuple(dict.fromkeys(map(_by_text, folders))), frozenset(data_sets))

    def hold(self, path: str | Path) -> bool:
        """Whether the text of a path is in one of the folders; links are not followed."""
        return _below(_by_text(path), self.folders)

    def leads_out(self) -> Callable[[Path, str], str]:
        """Return a function that checks whether a path leads out of all folders; it reads no file.

        Its arguments are a folder and a path that is relative to the folder, or absolute. It
        returns '' if the path leads to one of the folders, else words for the message, such as
        ', a link to /tmp/x.png'.
        """
        real = tuple(os.path.realpath(folder) for folder in self.folders)
        real_folder = cache(os.path.realpath)  # many images are in one folder

        def told(base: Path, path: str) -> str:
            if "\0" in path:
                return ", which no file is called"
            if not self.hold(base / path):
                return f", in {_by_text((base / path).parent)}"
            archive = image_file.member(base / path)
            file = archive[0] if archive else base / path
            target = os.path.join(real_folder(file.parent), file.name)  # noqa: PTH118  faster
            if os.path.islink(target):  # noqa: PTH114
                target = os.path.realpath(target)
            return "" if _below(target, real) else f", a link to {target}"

        return told


def _by_text(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  `resolve` would follow links


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == f or path.startswith(f.rstrip(os.sep) + os.sep) for f in folders)


def bounds_of(data: Data, root: Path) -> Bounds:
    """The folders and data sets that the parameters name.

    Args:
        root: the data root.
    """
    held = [data.heldout.folder] if data.heldout.folder else []
    shifts = [Source(path=shift.folder) for shift in data.shifts.values()]
    paths = [without_task(source.path) for source in (data.train, data.test, *held, *shifts)]
    sets = [p.removeprefix(hugging_face.PREFIX) for p in paths if p.startswith(hugging_face.PREFIX)]
    plain = [root / p for p in paths if not p.startswith(hugging_face.PREFIX)]
    folders = [_folder(path) for path in plain]
    return Bounds.of(root, *folders, *(root / path for path in data.roots), data_sets=sets)


def _folder(path: Path) -> Path:
    """The folder of a source; for a list, an archive or a pattern, the folder that contains it."""
    while path.is_file() or (any(sign in str(path) for sign in "*?[") and not path.exists()):
        path = path.parent
    return path


def require_inside(paths: Iterable[str], root: Path, bounds: Bounds, file: Path) -> None:
    """Check that the text of a manifest's paths is within the bounds of the parameters.

    Args:
        paths: relative to `root`.
        file: the manifest, for the error message.

    Raises:
        DataError: paths lead out, or name a data set that the parameters do not name.
    """
    wrong: list[str] = []
    holds = cache(lambda folder: bounds.hold(root / folder))  # many images are in one folder
    for path in paths:
        row = hugging_face.row(Path("/") / path) if hugging_face.MARK in path else None
        if not (row[0] in bounds.data_sets if row else holds(path.rpartition("/")[0] or path)):
            wrong.append(path)
    if wrong:
        raise DataError(
            f"{file} names {len(wrong)} images that are not where the parameters say: "
            f"{some(wrong, 5)}; run prepare again, or allow their folder by data.roots"
        )
