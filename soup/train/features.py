"""The inputs of a model's head for every example, computed once and cached on disk."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.data.loading.image_store import ImageStore
from soup.evaluation.examples import Examples
from soup.evaluation.predict import computed, outputs
from soup.files import of_code, of_libraries, of_value
from soup.models import Architecture, library

SORTED = 4096
Features = Float[NDArray[np.float32], "examples features"]


def kept_features(
    model: nn.Module,
    weights: str,
    examples: Examples,
    architecture: Architecture,
    batch_size: int,
    store: ImageStore,
) -> Features:
    """The features of all examples: memory-mapped from the cache, where they are stored if need be.

    If the cache has no room, the features are computed and kept in memory.

    Args:
        weights: digest of the model's weights.
        examples: read only if their features are not in the cache.
        batch_size: examples a pass.
        store: the cache.
    """

    def blocks() -> Iterator[Features]:
        with store.progress("features", len(examples)) as advance:
            for batch in features(model, examples, architecture, batch_size):
                yield batch
                advance(len(batch))

    code = of_code("soup.models", "soup.train.features")
    made_by = of_libraries("torch", architecture.package)
    key = of_value(["features", code, made_by, weights, architecture.text(), examples.digest])
    mapped = store.array(key, len(examples), blocks, "features are computed anew, in memory")
    return np.concatenate([*blocks()]) if mapped is None else mapped


def features(
    model: nn.Module, examples: Examples, architecture: Architecture, batch_size: int = 256
) -> Iterator[Features]:
    """The inputs of the model's head, float32 (batch, features), one batch at a time."""
    of = library(architecture.library).features

    @torch.no_grad()
    def compute(batch: Tensor) -> Tensor:
        return of(model, batch)

    everything = np.arange(len(examples))
    if examples.groups(everything[:1], 1) is None:
        for rows in outputs(model, compute, examples, everything, batch_size):
            yield rows.cpu().numpy()
        return
    # Of texts, enough at a time that batches of similar length can be made of them.
    step = max(SORTED, batch_size)
    for start in range(0, len(everything), step):
        part = everything[start : start + step]
        yield computed(model, compute, examples, part, batch_size).numpy()
