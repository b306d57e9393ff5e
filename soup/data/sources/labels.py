"""Labels in a file, for images outside class folders, such as ImageNet's validation set.

Such files are ImageNet's development kit (ILSVRC2012's own class numbers, 1 to 1000, in the order
of the sorted file names; they are not the positions of the sorted synsets), lines `name label`, one
label a line in the order of the sorted file names, or a CSV with a header.

torchvision's `parse_devkit_archive` is not used: it takes only the packed archive of one checksum,
and writes what it read into the user's folder.
"""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from soup.data.errors import DataError
from soup.data.sources.lists import read_list, text_lines
from soup.errors import some

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = f"ILSVRC2012_devkit_t12.tar.gz, or its folder, or its data/{GROUND_TRUTH}"


def labelled(paths: Sequence[str], file: Path) -> list[str]:
    """The label of each image.

    Args:
        paths: of the images, in any order; names are compared without folders and suffix.
        file: of one of the kinds above.

    Raises:
        DataError: labels are missing, are too many, or cannot be read.
    """
    order = sorted(range(len(paths)), key=lambda i: PurePosixPath(paths[i]).name)
    if not file.exists():
        raise DataError(f"{file}, with the labels, does not exist; for ImageNet: {DEVKIT}")
    if file.is_dir() or file.name == GROUND_TRUTH or file.name.endswith((".tar.gz", ".tgz")):
        return _in_order(_devkit(file), order, file)
    if file.suffix.lower() == ".txt" and all(len(s.split()) == 1 for s in text_lines(file)):
        return _in_order(text_lines(file), order, file)
    by_name = {_stem(line.path): line.label for line in read_list(file, {}, "")}
    stems = [_stem(path) for path in paths]
    missing = sorted(stem for stem in stems if stem not in by_name)
    unknown = sorted(set(by_name) - set(stems))
    if missing or unknown:
        lines = [f"{file} does not fit the images:"]
        if missing:
            lines.append(f"  without a label: {some(missing, 10, last=' ')}")
        if unknown:
            lines.append(f"  labelled, but no such image: {some(unknown, 10, last=' ')}")
        raise DataError("\n".join(lines))
    return [by_name[stem] for stem in stems]


def _in_order(labels: Sequence[str], order: Sequence[int], file: Path) -> list[str]:
    if len(labels) != len(order):
        raise DataError(
            f"{file} has {len(labels)} labels for {len(order)} images; without names, labels "
            "go by the order of the sorted file names, of which none may be missing"
        )
    by_index = [""] * len(order)
    for label, index in zip(labels, order, strict=True):
        by_index[index] = label
    return by_index


def _devkit(file: Path) -> list[str]:
    """The synset (wnid) of each validation image."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    truth, meta = _devkit_files(file)
    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        leaves = {
            int(number): str(wnid)
            for number, wnid, children in zip(
                synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True
            )
            if int(children) == 0
        }
        numbers = [int(line) for line in truth.decode().split()]
    except (ValueError, KeyError, TypeError, MatReadError) as error:
        raise DataError(f"{file} is not the development kit of ILSVRC2012: {error}") from None
    wrong = sorted({n for n in numbers if n not in leaves})
    if wrong:
        raise DataError(
            f"{file}: labels that are no class of meta.mat: {some(wrong, 10, last=' ')}"
        )
    return [leaves[number] for number in numbers]


def _devkit_files(file: Path) -> tuple[bytes, bytes]:
    """The contents of the ground truth file and of meta.mat, which are in one folder."""
    try:
        if file.is_file() and file.name != GROUND_TRUTH:
            with tarfile.open(file, "r:*") as tar:
                inside = {
                    PurePosixPath(m.name).name: m for m in tar if m.isreg() and "/data/" in m.name
                }
                both = [tar.extractfile(inside[n]) for n in (GROUND_TRUTH, "meta.mat")]
                truth, meta = (opened.read() if opened else b"" for opened in both)
                return truth, meta
        folders = [file.parent] if file.is_file() else [file / "data", file]
        folder = next((f for f in folders if (f / GROUND_TRUTH).is_file()), folders[0])
        return (folder / GROUND_TRUTH).read_bytes(), (folder / "meta.mat").read_bytes()
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{file} is not the development kit of ILSVRC2012 ({error}); expected {DEVKIT}, with "
            "meta.mat beside it"
        ) from None


def _stem(path: str) -> str:
    return PurePosixPath(path).name.split(".")[0]
