"""Image classifiers of timm and open_clip: description, building, input and conversion."""

from soup.models.architecture import DESCRIPTION_FILE, Architecture, ModelError
from soup.models.building import (
    build,
    head_weights,
    library,
    load_weights,
    open_model,
    require_size,
)

__all__ = ["DESCRIPTION_FILE", "Architecture", "ModelError", "build", "head_weights", "library"]
__all__ += ["load_weights", "open_model", "require_size"]
