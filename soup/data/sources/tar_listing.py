"""Listing images in tar archives, by class folder or by the label beside each image (webdataset).

A path is `archive.tar::inside`; nothing is unpacked.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from soup import limits
from soup.data.errors import DataError
from soup.data.reading import archives
from soup.data.reading.image_file import INSIDE
from soup.data.sources.folders import Found, Problem, is_image, not_read, relative

LABELS = ("cls", "txt")


def pictures(archive: Path) -> list[str]:
    """The names of the images in an archive, sorted, without hidden files.

    Raises:
        DataError: see `archives.names`.
    """
    return [name for name in _visible(archive) if is_image(PurePosixPath(name))]


def others(tars: Sequence[Path], root: Path, labelled: bool = False) -> list[Problem]:
    """The files in archives that are not read as images, without labels if they are `labelled`."""
    return not_read(
        f"{relative(tar, root)}{INSIDE}{name}"
        for tar in tars
        for name in _visible(tar)
        if not labelled or _key(name)[1] not in LABELS
    )


def _visible(archive: Path) -> list[str]:
    return [name for name in archives.names(archive) if "/." not in f"/{name}"]


def by_folder(
    tars: Sequence[Path], root: Path
) -> tuple[list[Found], list[Problem], dict[str, str], bool]:
    """Images by their class folder, in one archive or in several.

    Folders that contain all class folders are ignored. If there are several archives, images
    outside a folder have the class that their archive is named after, as in ImageNet's train
    archive of which only the outer tar was unpacked. So do all images, if they are in folders of
    one name in all archives (`cat.tar::images/1.jpg`, `dog.tar::images/1.jpg`).

    Returns:
        The images, the images outside a class folder, for each archive the path of the folders
        that contain its class folders ('' if there are none), and whether all classes are named
        after the archives although the images are in folders.
    """
    found: list[Found] = []
    stems: list[str] = []  # of the archive of each of them
    misplaced: list[Problem] = []
    around: dict[str, str] = {}
    for tar in tars:
        archive = relative(tar, root)
        parts = [(name, PurePosixPath(name).parts) for name in pictures(tar)]
        shared = os.path.commonprefix([folders[:-2] for _, folders in parts])  # noqa: RUF071  of tuples
        depth = len(shared)
        around[archive] = "".join(f"{folder}/" for folder in shared)
        for name, folders in parts:
            path = f"{archive}{INSIDE}{name}"
            if len(folders) > depth + 1:
                found.append(Found(path, folders[depth]))
            elif len(tars) > 1:
                found.append(Found(path, tar.stem))
            else:
                misplaced.append(Problem(path, "misplaced: not inside a class folder"))
        stems += [tar.stem] * (len(found) - len(stems))
    labels, named = {image.label for image in found}, set(stems)
    by_archive = len(labels) == 1 < len(named) and labels.isdisjoint(named)
    if by_archive:
        found = [Found(image.path, stem) for image, stem in zip(found, stems, strict=True)]
    return found, misplaced, around, by_archive


def by_sample(tars: Sequence[Path], root: Path) -> tuple[list[Found], list[Problem]]:
    """Images with the label beside them: `0001.jpg` with `0001.cls` or `0001.txt`.

    Files whose names agree up to the first dot are one sample (webdataset's rule).
    """
    found: list[Found] = []
    unlabelled: list[Problem] = []
    for tar in tars:
        archive = relative(tar, root)
        labels: dict[str, str] = {}
        with tar.open("rb") as file:
            for name in archives.names(tar):
                key, end = _key(name)
                if end in LABELS and (end == "cls" or key not in labels):
                    offset, size = archives.extent(tar, name)
                    if size > limits.LABEL_BYTES:
                        raise DataError(
                            f"{tar}: the label {name} has {size:,} bytes; at most "
                            f"{limits.LABEL_BYTES:,} are read (limit LABEL_BYTES in soup/limits.py)"
                        )
                    file.seek(offset)
                    labels[key] = file.read(size).decode(errors="replace").strip()
        for name in pictures(tar):
            path, label = f"{archive}{INSIDE}{name}", labels.get(_key(name)[0], "")
            if label:
                found.append(Found(path, label))
            else:
                unlabelled.append(Problem(path, "misplaced: no label (.cls or .txt) beside it"))
    return found, unlabelled


def _key(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, _, end = path.name.partition(".")
    return f"{path.parent}/{stem}", end.lower()
