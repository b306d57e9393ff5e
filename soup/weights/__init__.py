"""State dicts as a vector space, in memory and in files."""

from soup.weights.algebra import angle, average, combine, dot, gram, lerp, norm
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.mapping import (
    Incompatible,
    LazyWeights,
    Spec,
    Weights,
    differences,
    display_name,
    materialize,
    require_compatible,
    specs,
    tensorwise,
)
from soup.weights.shards import CheckpointError
from soup.weights.streaming_sum import NotFinite

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Incompatible",
    "LazyWeights",
    "NotFinite",
    "Spec",
    "Weights",
    "angle",
    "average",
    "combine",
    "differences",
    "display_name",
    "dot",
    "gram",
    "lerp",
    "materialize",
    "norm",
    "require_compatible",
    "save",
    "specs",
    "tensorwise",
]
