"""Where a project's image files are, and the disk cache that their decoded arrays share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from soup.data.loading.array_cache import kept
from soup.data.progress import Track, no_progress
from soup.data.reading.limits import Limits


@dataclass(frozen=True)
class ImageStore:
    """Image files and the cache of what is computed from them.

    Attributes:
        root: the data root, which the paths of a manifest are relative to.
        cache: folder of the arrays.
        limit_gib: what all arrays in the folder may take together, GiB.
        progress: is told how far a decoding or a computation is.
        limits: of a picture's size; None: those of the environment. They decide what is read,
            never what it looks like, and so are in no key of the cache.
    """

    root: Path
    cache: Path
    limit_gib: float
    progress: Track = no_progress
    limits: Limits | None = None

    def array(
        self,
        key: str,
        count: int,
        blocks: Callable[[], Iterator[NDArray[Any]]],
        otherwise: str = "",
    ) -> NDArray[Any] | None:
        """The array named `key`, mapped from the cache, made first if it is not there.

        Args:
            key: digest of everything that decides the array's content.
            count: length of the array's first axis.
            blocks: the array from its start, in parts along the first axis.
            otherwise: what is done if the cache has no room; logged as a warning.

        Returns:
            The array, or None if the cache has no room for it.

        Raises:
            OSError: the disk is full or refuses.
        """
        return kept(self.cache / f"{key[:32]}.npy", count, blocks, self.limit_gib, otherwise)
