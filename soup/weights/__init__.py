"""State dicts as a vector space, in memory and in files."""

from soup.weights.algebra import angle, average, combine, dot, gram, lerp, norm
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.mapping import (
    Incompatible,
    Lazy,
    Spec,
    Weights,
    called,
    differences,
    held,
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
    "Lazy",
    "NotFinite",
    "Spec",
    "Weights",
    "angle",
    "average",
    "called",
    "combine",
    "differences",
    "dot",
    "gram",
    "held",
    "lerp",
    "norm",
    "require_compatible",
    "save",
    "specs",
    "tensorwise",
]
