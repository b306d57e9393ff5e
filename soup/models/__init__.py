"""Classifiers of timm, open_clip and transformers: description, building, input, conversion."""

from soup.models.architecture import DESCRIPTION_FILE, Architecture, ModelError
from soup.models.building import (
    build,
    head_weights,
    library,
    load_weights,
    open_model,
    require_size,
)
from soup.models.model_folder import write_description

__all__ = ["DESCRIPTION_FILE", "Architecture", "ModelError", "build", "head_weights", "library"]
__all__ += ["load_weights", "open_model", "require_size", "write_description"]
