"""Serve a registered soup: as an MLflow pyfunc, and by `soup serve`.

MLflow calls `_load_pyfunc` with the folder of `model.json` and `model.safetensors`. Registered
models name this module, so it must keep its path. Nothing is unpickled, the model brings no code,
and all files are checked against their registered digests before any is used. This package does
not import MLflow.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup.models.allowed_files import Refused, verify_model
from soup.serving.classifier import Classifier
from soup.serving.open_classifier import AnyClassifier, open_classifier
from soup.serving.text_classifier import TextClassifier

__all__ = ["Classifier", "TextClassifier"]


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> AnyClassifier:
    """Check and open a registered model; MLflow calls this whichever way the model is loaded.

    Raises:
        Refused: a file differs from what was registered, or is of a kind that is not allowed.
    """
    folder = Path(path)
    root = folder.parents[1]
    if not (root / "MLmodel").is_file() or folder.is_symlink() or folder.parent.is_symlink():
        raise Refused(f"{folder} is refused: it is not the folder data/NAME of an MLflow model")
    unchecked = verify_model(root, str(root))
    if unchecked:
        warnings.warn(unchecked, stacklevel=2)
    return open_classifier(folder)
