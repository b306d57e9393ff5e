"""The digests of checkpoints, computed while their files are read for something else."""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from soup.cores import cores
from soup.known_digests import FileDigest, sha256
from soup.weights.remote_file import RemoteFile
from soup.weights.shards import is_remote

# Bytes of all files together between two steps. So many steps at most are waited for: hashing stays
# so close to what else reads the files that a disk is read once.
STEP = 64 << 20
STEPS = 8
UNKNOWN = "0" * 64  # as long as a digest


class Digesting:
    """Hashes the files of checkpoints in step with other work, on all cores.

    Used as a context manager: threads end with the block.
    """

    def __init__(self, checkpoints: Mapping[str, Sequence[str]]) -> None:
        """
        Args:
            checkpoints: the files or URLs of each, by name.
        """
        self._checkpoints = checkpoints
        paths = dict.fromkeys(f for files in checkpoints.values() for f in files)
        self._known = {path: RemoteFile(path).identity for path in paths if is_remote(path)}
        self._files = {path: FileDigest(path) for path in paths if path not in self._known}
        self._left = [file for file in self._files.values() if not file.known]
        self._bytes = sum(file.size for file in self._left)
        self._share = 0.0
        self._steps: deque[list[Future[None]]] = deque()
        self._threads = ThreadPoolExecutor(cores())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def placeholders(self) -> dict[str, str]:
        """What stands for the digest of each checkpoint until it is known, and is as long."""
        return {
            name: UNKNOWN if len(files) > 1 else self._known.get(files[0], UNKNOWN)
            for name, files in self._checkpoints.items()
        }

    def advance(self, share: float) -> None:
        """Hash this share of every file in the background.

        Waits where hashing is far behind.

        Raises:
            Changed: a file was changed while it was read.
        """
        if (share - self._share) * self._bytes < STEP:
            return
        self._share = share
        self._steps.append(
            [self._threads.submit(file.advance, int(share * file.size)) for file in self._left]
        )
        if len(self._steps) > STEPS:
            for each in self._steps.popleft():
                each.result()

    def finish(self) -> dict[str, str]:
        """Hash what is left, and return the digest of each checkpoint by name.

        Raises:
            Changed: a file was changed while it was read.
        """
        digests = [self._threads.submit(file.finish) for file in self._files.values()]
        self._known |= dict(zip(self._files, (each.result() for each in digests), strict=True))
        return {name: of_shards(files, self._known) for name, files in self._checkpoints.items()}


def of_shards(files: Sequence[str], known: Mapping[str, str] | None = None) -> str:
    """Return the digest of the files of one model; see `Checkpoint.digest`.

    Args:
        known: digests of some of the files, which are not computed again.
    """
    digests = [(known or {}).get(file) or _identity(file) for file in files]
    if len(digests) == 1:
        return digests[0]
    lines = [f"{d}  {Path(file).name}\n" for d, file in zip(digests, files, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _identity(file: str) -> str:
    return RemoteFile(file).identity if is_remote(file) else sha256(file)
