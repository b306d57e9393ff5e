"""Image classifiers of timm and open_clip: how they are described, built, fed and converted."""

from soup.models.architecture import Architecture, ModelError
from soup.models.building import (
    build,
    head_weights,
    library,
    load_weights,
    mismatch_message,
    open_model,
)

__all__ = ["Architecture", "ModelError", "build", "head_weights", "library", "load_weights"]
__all__ += ["mismatch_message", "open_model"]
