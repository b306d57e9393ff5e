"""What the head sees of every image, computed once and kept on disk, to be read part by part."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import nn

from soup.data.loading.array_cache import DEFAULT_CACHE_GIB, kept
from soup.data.loading.images import Images
from soup.data.loading.prefetch import on_device, parts
from soup.data.progress import Track, no_progress
from soup.evaluation.predict import sized
from soup.files import of_value
from soup.models import Architecture, library
from soup.models.transforms import normalise, to_tensor

Features = Float[NDArray[np.float32], "examples features"]


def kept_features(
    model: nn.Module,
    weights: str,
    images: Callable[[], Images],
    name: str,
    count: int,
    architecture: Architecture,
    batch_size: int,
    cache: Path,
    cache_gib: float = DEFAULT_CACHE_GIB,
    track: Track = no_progress,
) -> Features:
    """Features from the cache, mapped, or computed now; in memory where the cache has no room.

    Args:
        weights: digest of the model's weights.
        images: opened only if the features are not there.
        name: digest of these images and of what is done to them.
        count: how many there are.
        track: is told how far it is, if they have to be computed.
    """

    def blocks() -> Iterator[Features]:
        ready = images()
        with track("features", count) as advance:
            for found in features(model, ready, architecture, batch_size):
                yield found
                advance(len(found))

    key = of_value(["features", weights, architecture.text(), name])
    found = kept(
        cache / f"{key[:32]}.npy", count, blocks, cache_gib, "features are computed anew, in memory"
    )
    return np.concatenate([*blocks()]) if found is None else found


def features(
    model: nn.Module, images: Images, architecture: Architecture, batch_size: int = 256
) -> Iterator[Features]:
    """What the head sees, for every image once, a batch at a time."""
    device = next(model.parameters()).device
    compute = library(architecture.library).features
    batches = ((to_tensor(part),) for part in parts(sized(images, architecture), batch_size))
    for (batch,) in on_device(batches, device, lambda p: normalise(p, architecture)):
        with torch.no_grad():
            found = compute(model, batch).float()
        yield found.cpu().numpy()
