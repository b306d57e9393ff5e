"""Arithmetic on state dicts, whether their tensors are in memory or in safetensors files."""

from soup.weights.algebra import average, cast, combine, gram, lerp
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
)
from soup.weights.mergeable import MergeWarning
from soup.weights.shards import CheckpointError
from soup.weights.streaming_sum import NotFinite

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Incompatible",
    "LazyWeights",
    "MergeWarning",
    "NotFinite",
    "Spec",
    "Weights",
    "average",
    "cast",
    "combine",
    "differences",
    "display_name",
    "gram",
    "lerp",
    "materialize",
    "require_compatible",
    "save",
    "specs",
]
