"""The images that a command is given: files, and folders of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def image_files(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The image files, and a line for each other file in a folder."""
    from soup.data.sources.folders import DataError, all_below, is_image, not_read

    files: list[Path] = []
    others: list[str] = []
    for path in paths:
        inside = sorted(all_below(path)) if path.is_dir() else []
        files += [file for file in inside if is_image(file)] if path.is_dir() else [path]
        others += [f"{p.path}: {p.reason}" for p in not_read(map(str, inside))]
    missing = [str(path) for path in files if not path.is_file()]
    if missing or not files:
        told = "; ".join(["", *others[:5]])
        raise DataError(f"no such image: {', '.join(missing) or ', '.join(map(str, paths))}{told}")
    return files, others


def readable(
    files: Sequence[Path], resize: Callable[[Any], Any]
) -> tuple[list[Path], "np.ndarray", list[str]]:
    """The files that can be read, their pixels, and a line for each of the others."""
    import numpy as np

    from soup.data.sources.folders import DataError

    good, pixels, bad = [], [], []
    for file in files:
        try:
            pixels.append(_read(file, resize))
            good.append(file)
        except DataError as error:
            bad.append(str(error))
    if not good:
        raise DataError("\n".join(bad))
    return good, np.stack(pixels), bad


def _read(file: Path, resize: Callable[[Any], Any]) -> "np.ndarray":
    import numpy as np
    from PIL import UnidentifiedImageError

    from soup.data.reading.decoding import decode
    from soup.data.reading.formats import unread
    from soup.data.reading.image_file import BROKEN, read
    from soup.data.reading.limits import BeyondLimits
    from soup.data.sources.folders import DataError

    try:
        return np.asarray(resize(decode(read(file))), dtype=np.uint8)
    except BeyondLimits as error:
        raise DataError(f"{file}: {error}") from None
    except BROKEN as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
        reason = unread(file) or f"not an image that can be read{why}"
        raise DataError(f"{file}: {reason}") from None
