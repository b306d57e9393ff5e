"""ImageNet's development kit (ILSVRC2012): the class of each validation image.

torchvision's `parse_devkit_archive` is not used: it takes only an archive with one fixed checksum,
and writes its result into the user's folder.
"""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Literal

from soup import limits
from soup.data.errors import DataError
from soup.errors import some
from soup.files import read_bytes

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = f"ILSVRC2012_devkit_t12.tar.gz, or its folder, or its data/{GROUND_TRUTH}"
COMPRESSED = 15  # type of a compressed element in a file of MATLAB, whose header has 128 bytes


def synsets(file: Path) -> list[str]:
    """The synset (wnid) of each validation image.

    Raises:
        DataError: the file is not a development kit, or unpacks to more than
            `limits.DEVKIT_BYTES`.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    truth, meta = _files(file)
    try:
        _require_small(meta)
        known = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        leaves = {
            int(number): str(wnid)
            for number, wnid, children in zip(
                known["ILSVRC2012_ID"], known["WNID"], known["num_children"], strict=True
            )
            if int(children) == 0
        }
        numbers = [int(line) for line in truth.decode().split()]
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        MatReadError,
        NotImplementedError,
    ) as error:
        raise DataError(f"{file} is not the development kit of ILSVRC2012: {error}") from None
    wrong = sorted({n for n in numbers if n not in leaves})
    if wrong:
        raise DataError(
            f"{file}: labels that are no class of meta.mat: {some(wrong, 10, last=' ')}"
        )
    return [leaves[number] for number in numbers]


def _files(file: Path) -> tuple[bytes, bytes]:
    """The contents of the ground truth file and of meta.mat, which must be in one folder."""
    try:
        if file.is_file() and file.name != GROUND_TRUTH:
            with tarfile.open(fileobj=io.BytesIO(_unpacked(file)), mode="r:") as tar:
                inside = {
                    PurePosixPath(m.name).name: m for m in tar if m.isreg() and "/data/" in m.name
                }
                both = [tar.extractfile(inside[n]) for n in (GROUND_TRUTH, "meta.mat")]
                truth, meta = (opened.read() if opened else b"" for opened in both)
                return truth, meta
        folders = [file.parent] if file.is_file() else [file / "data", file]
        folder = next((f for f in folders if (f / GROUND_TRUTH).is_file()), folders[0])
        most = limits.DEVKIT_BYTES
        return read_bytes(folder / GROUND_TRUTH, most), read_bytes(folder / "meta.mat", most)
    except (OSError, KeyError, ValueError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{file} is not the development kit of ILSVRC2012 ({error}); expected {DEVKIT}, with "
            "meta.mat beside it"
        ) from None


def _unpacked(file: Path) -> bytes:
    """The tar in a file, which may be compressed by gzip."""
    with file.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(file) if is_packed else file.open("rb") as opened:
        content: bytes = opened.read(limits.DEVKIT_BYTES + 1)
    if len(content) > limits.DEVKIT_BYTES:
        raise ValueError(_beyond("it"))
    return content


def _require_small(meta: bytes) -> None:
    """Raise ValueError if the compressed elements of a file of MATLAB unpack to too much."""
    order: Literal["big", "little"] = "big" if meta[126:128] == b"MI" else "little"
    start, left = 128, limits.DEVKIT_BYTES
    while start + 8 <= len(meta):
        kind = int.from_bytes(meta[start : start + 4], order)
        end = start + 8 + int.from_bytes(meta[start + 4 : start + 8], order)
        if kind == COMPRESSED:
            left -= len(zlib.decompressobj().decompress(meta[start + 8 : end], left + 1))
            if left < 0:
                raise ValueError(_beyond("meta.mat"))
        start = end


def _beyond(what: str) -> str:
    return (
        f"{what} unpacks to more than {limits.DEVKIT_BYTES:,} bytes (limit DEVKIT_BYTES in "
        "soup/limits.py)"
    )
