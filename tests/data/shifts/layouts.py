"""The same labelled images in every form that a source may have, generated."""

import csv
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Picture = tuple[str, str, bytes]  # class, file name, encoded
WNIDS = ("n01440764", "n01443537", "n01484850")


def encoded(seed: int, size: tuple[int, int] = (9, 7), kind: str = "png") -> bytes:
    """A noisy picture, (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def pictures(
    counts: Mapping[str, int], first: int = 0, suffix: str = "JPEG", kind: str = "png"
) -> list[Picture]:
    """`counts` of each class, named as ImageNet's are; all different."""
    return [
        (label, f"{label}_{number}.{suffix}", encoded(1000 * place + number, kind=kind))
        for place, (label, count) in enumerate(counts.items())
        for number in range(first, first + count)
    ]


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A plain tar of members in the given order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(members))
    return path


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def as_folder(folder: Path, images: Sequence[Picture]) -> Path:
    for label, name, data in images:
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / name).write_bytes(data)
    return folder


def as_tar(path: Path, images: Sequence[Picture], around: str = "") -> Path:
    return tar(path, [(f"{around}{label}/{name}", data) for label, name, data in images])


def as_tar_of_tars(path: Path, images: Sequence[Picture]) -> Path:
    """ImageNet's official form: an archive a class, in an archive."""
    return tar(path, class_tars(images))


def class_tars(images: Sequence[Picture]) -> list[tuple[str, bytes]]:
    labels = dict.fromkeys(label for label, _, _ in images)
    return [
        (f"{label}.tar", packed((name, data) for each, name, data in images if each == label))
        for label in labels
    ]


def as_shards(
    folder: Path, images: Sequence[Picture], numbers: Sequence[str] = (), size: int = 4
) -> Path:
    """webdataset shards; `.cls` with the position among `numbers` where given, else `.txt`."""
    for start in range(0, len(images), size):
        members = []
        for label, name, data in images[start : start + size]:
            key = name.split(".")[0]
            said = ("cls", str(numbers.index(label))) if numbers else ("txt", label)
            members += [(f"{key}.png", data), (f"{key}.{said[0]}", said[1].encode())]
        tar(folder / f"part-{start // size:06d}.tar", members)
    return folder


def as_csv(
    file: Path,
    rows: Sequence[Sequence[str]],
    header: Sequence[str] = ("path", "label"),
    delimiter: str = ",",
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as opened:
        csv.writer(opened, delimiter=delimiter).writerows([header, *rows])
    return file


def listed_rows(images: Sequence[Picture], prefix: str = "") -> list[tuple[str, str]]:
    return [(f"{prefix}{label}/{name}", label) for label, name, _ in images]


def devkit(folder: Path, truth: Sequence[int], wnids: Mapping[int, str]) -> Path:
    """The development kit's two files, as ILSVRC2012 numbers its classes."""
    from scipy.io import savemat

    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    leaves = [(number, wnid, 0) for number, wnid in wnids.items()]
    synsets = np.array([*leaves, (len(leaves) + 1, "n00001740", 2)], dtype=kind)
    data = folder / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": synsets})
    file = data / "ILSVRC2012_validation_ground_truth.txt"
    file.write_text("".join(f"{number}\n" for number in truth))
    return file


def classes_file(root: Path, names: tuple[str, ...] = WNIDS) -> str:
    (root / "names.txt").write_text("\n".join(names) + "\n")
    return "names.txt"
