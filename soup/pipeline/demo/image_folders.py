"""The embedded world as folders of images."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soup.pipeline.demo.shapes import CLASSES, Images, Labels, render

Hard = Callable[[Images, Labels], NDArray[np.bool_]]
_CANDIDATES = 12  # images that split `a` may look at for each one it keeps


def write(root: Path, seed: int, sizes: Mapping[str, int], hard: Hard) -> None:
    """Write image folders `root/<split>/<class>/<index>.png`, whole or not at all.

    Split `a` keeps the candidates of which `hard(images, labels)` says that a reference model gets
    them wrong, until it has its size or has looked at 12 times as many.
    """
    if root.exists():
        raise FileExistsError(f"{root} is already there: delete it")
    aside = root.with_name(root.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    for split, size in sizes.items():
        for name in CLASSES:
            (aside / split / name).mkdir(parents=True)
        start, kept = 0, 0
        while kept < size and start < (_CANDIDATES * size if split == "a" else size):
            count = 1000 if split == "a" else min(1000, size - start)
            images, labels = render(seed, split, start, count)
            chosen = np.flatnonzero(hard(images, labels)) if split == "a" else np.arange(count)
            for i in chosen[: size - kept]:
                path = aside / split / CLASSES[labels[i]] / f"{start + i:05d}.png"
                Image.fromarray(images[i]).save(path, "PNG", compress_level=1)
            start, kept = start + count, kept + len(chosen)
    aside.rename(root)
