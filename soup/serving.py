"""A registered soup as a pyfunc of MLflow: it maps images to labels and probabilities.

MLflow calls `_load_pyfunc` with the folder of `model.json` and `model.safetensors`; nothing is
unpickled. This module does not import MLflow.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from soup.data.loading.examples import as_examples
from soup.data.loading.images import Images
from soup.data.reading.decoding import decode
from soup.evaluation.metrics import predicted, with_finite_maximum
from soup.evaluation.predict import predict
from soup.models import open_model
from soup.models.allowed_files import require_allowed_files
from soup.models.transforms import image_input


class Classifier:
    """Classifies images with a registered model."""

    def __init__(self, folder: Path) -> None:
        self.architecture, self._model = open_model(folder)
        self._inputs = image_input(self.architecture)

    def predict(self, images: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify images.

        Args:
            images: a frame with a column 'image', a list, or an array (examples, height, width, 3).
                Each image is encoded bytes (PNG, JPEG, ...), the same in base64, or a uint8 array
                (height, width, 3).

        Returns:
            A row an image: 'label', its 'probability', and 'probabilities' by class. If the
            model's logits are not numbers, the label is None and the probabilities are NaN.

        Raises:
            ValueError: an entry is not an image; the message says which.
        """
        column = images
        if isinstance(images, pd.DataFrame | Mapping):
            if "image" not in images:
                raise ValueError(f"expected a column 'image', got {list(images)}")
            column = images["image"]
        if len(column) == 0:
            raise ValueError("no images were given")
        pixels = np.stack([self._pixels(image, index) for index, image in enumerate(column)])
        labels = np.zeros(len(pixels), dtype=np.int64)
        logits = predict(self._model, as_examples(Images(pixels, labels, ()), self._inputs))
        probabilities = torch.from_numpy(with_finite_maximum(logits)).softmax(dim=1).numpy()
        names = self.architecture.classes
        return pd.DataFrame(
            {
                "label": [None if i < 0 else names[i] for i in predicted(probabilities)],
                "probability": [float(p) for p in probabilities.max(axis=1)],
                "probabilities": [
                    {n: float(p) for n, p in zip(names, row, strict=True)} for row in probabilities
                ],
            }
        )

    def _pixels(self, image: Any, index: int) -> NDArray[np.uint8]:
        try:
            return np.asarray(self._inputs.resize(_opened(image)), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
            raise ValueError(f"image {index} cannot be used: {error}") from None


def _opened(image: Any) -> Image.Image:
    if isinstance(image, str):
        image = base64.b64decode(image, validate=True)
    if isinstance(image, bytes):
        return decode(image)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"expected (height, width, 3), got {array.shape}")
    if array.dtype != np.uint8 and (array.min() < 0 or array.max() > 255 or (array % 1).any()):
        raise ValueError("expected pixels of 0 to 255 in whole numbers")
    return Image.fromarray(array.astype(np.uint8))


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Classifier:
    """Open a registered model; MLflow calls this.

    Raises:
        Refused: the model holds a file of a kind that this project does not write.
    """
    root = Path(path).parents[1]
    if (root / "MLmodel").is_file():
        require_allowed_files(root, str(root))
    return Classifier(Path(path))
