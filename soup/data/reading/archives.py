"""Tar archives, whose members are read by their offset, without unpacking.

The index of an archive (name, offset and size of each member) is computed once, stored on disk and
memory-mapped, so that all processes share one copy. A tar inside an archive counts as a folder:
ImageNet's train archive is a tar of 1,000 tars, and `n01440764.tar` holds `n01440764/...`.
"""

import os
import posixpath
import tarfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.ContainerIO import ContainerIO

from soup import limits
from soup.data.errors import DataError
from soup.errors import some
from soup.files import ShortReads, atomic_write, of_value

MOST_TOLD = 1000  # unsafe members that are kept for the message
VERSION = 1  # of the index format; part of the file name of an index
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


def names(archive: Path) -> list[str]:
    """The names of the files in an archive, sorted.

    Raises:
        DataError: the file is not a plain tar, or has unsafe members.
    """
    return [name.decode() for name in _table(archive)[0].tolist()]


def extent(archive: Path, name: str) -> tuple[int, int]:
    """The offset and size of a member, in bytes.

    Raises:
        FileNotFoundError: the archive is missing, or has no such member.
        DataError: see `names`.
    """
    (listed, offsets, sizes), wanted = _table(archive), name.encode()
    # `np.searchsorted` would first copy the whole column of names into memory.
    row = bisect_left(listed, wanted)
    if row == len(listed) or listed[row] != wanted:
        raise FileNotFoundError(f"No such file in the archive {archive}: {name}")
    return int(offsets[row]), int(sizes[row])


def _table(archive: Path) -> tuple[NDArray[Any], ...]:
    """The index of the archive in its present state: sorted names, offsets and sizes."""
    stat = archive.stat()
    return _loaded(archive, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _loaded(archive: Path, size: int, mtime_ns: int) -> tuple[NDArray[Any], ...]:
    table = np.asarray(_mapped(archive, size, mtime_ns))  # reading items of a memmap is slower
    return table["name"], table["offset"], table["size"]


def _mapped(archive: Path, size: int, mtime_ns: int) -> NDArray[Any]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = of_value([VERSION, str(archive.resolve()), size, mtime_ns])[:32]
    file = home / "modelsoup" / "archives" / f"{name}.npy"
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError):  # the index is not computed yet, or its file is damaged
        index = _index(archive, size)
    try:
        with atomic_write(file) as aside, aside.open("wb") as out:
            np.save(out, index)
        return np.load(file, mmap_mode="r")
    except OSError:  # the disk is full or read-only: this process keeps the index in memory
        return index


def _index(archive: Path, size: int) -> NDArray[Any]:
    if size == 0:
        raise DataError(f"{archive} is empty; fetch it again")
    with archive.open("rb") as file:
        head = file.read(6)
        packed = next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)
        if packed:
            raise DataError(
                f"{archive} is packed by {packed}, in which no image can be found by its place; "
                "unpack it, or make it a plain tar"
            )
    unsafe: list[str] = []
    members: list[tuple[bytes, int, int]] = []
    for number, member in enumerate(_walk(archive, 0, size, "", unsafe), 1):
        if number > limits.TAR_MEMBERS:
            raise _beyond(archive, f"more than {limits.TAR_MEMBERS:,} members", "TAR_MEMBERS")
        members.append(member)
    counted = Counter(name for name, _, _ in members)
    unsafe += [f"{name.decode()}: more than once" for name, n in counted.items() if n > 1]
    if unsafe:
        raise DataError(
            f"{archive} is refused for what it holds; make it again of plain files alone:\n  "
            + some(unsafe, 20, "\n  ")
        )
    width = max((len(name) for name, _, _ in members), default=1)
    if (taken := len(members) * (width + 16)) > limits.TAR_TABLE_BYTES:
        what = (
            f"{len(members):,} members and a name of {width:,} bytes, an index of {taken:,} bytes"
        )
        raise _beyond(archive, what, "TAR_TABLE_BYTES")
    fields = [("name", f"S{width}"), ("offset", "<i8"), ("size", "<i8")]
    return np.array(sorted(members), dtype=fields)


def _beyond(archive: Path, what: str, limit: str) -> DataError:
    return DataError(
        f"{archive} is refused: it has {what}; at most {getattr(limits, limit):,} is read "
        f"(limit {limit} in soup/limits.py)"
    )


def _walk(
    archive: Path, start: int, size: int, folder: str, unsafe: list[str]
) -> Iterator[tuple[bytes, int, int]]:
    """(name, offset in the archive, size) of the files in the tar of `size` bytes at `start`."""
    where = f"{archive}{'::' + folder.rstrip('/') + '.tar' if folder else ''}"
    tar: Any
    try:
        with (
            ContainerIO(archive.open("rb"), start, size) as file,
            tarfile.open(fileobj=_short(file), mode="r:") as tar,
        ):
            for member in tar:
                tar.members.clear()  # tarfile would keep all of them in memory
                reason = _refusal(member)
                if reason:
                    if len(unsafe) <= MOST_TOLD:
                        unsafe.append(f"{folder}{member.name[:200]}: {reason}")
                    continue
                if member.isdir():
                    continue
                path = folder + posixpath.normpath(member.name)
                offset, length = member.offset_data, member.size
                if offset + length > size:
                    raise tarfile.ReadError(f"it ends in the middle of {member.name}")
                if path.endswith(".tar") and not folder:
                    inside = path.removesuffix(".tar") + "/"
                    yield from _walk(archive, start + offset, length, inside, unsafe)
                else:
                    yield path.encode(), start + offset, length
            # tarfile stops without an error at a damaged header, as at the end of the archive.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{where} is no tar that can be read ({error}); fetch it again") from None


def _short(file: Any) -> Any:
    return ShortReads(file)


def _refusal(member: tarfile.TarInfo) -> str | None:
    """Why a member is refused; None if it is safe."""
    try:
        length = len(member.name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    long = f"a name of {length:,} bytes, above {limits.TAR_NAME:,} (TAR_NAME in soup/limits.py)"
    reasons = {
        long: length > limits.TAR_NAME,
        "an absolute path": member.name.startswith("/"),
        "a path that climbs out": ".." in member.name.split("/"),
        f"a link, to {member.linkname[:200]}": member.issym() or member.islnk(),
        "no plain file": not (member.isdir() or member.isreg()) or member.issparse(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
