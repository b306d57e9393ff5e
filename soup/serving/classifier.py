"""Classify images in any form: a row for each, with label and probabilities, or an error."""

import base64
from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from soup.data.loading.examples import to_tensor
from soup.data.reading.decoding import decode
from soup.data.reading.limits import default_limits, require_shape
from soup.evaluation.metrics import Logits, predicted, with_finite_maximum
from soup.models import Architecture, ModelError, open_model
from soup.models.transforms import image_input

BATCH = 32  # images in one forward pass
BROKEN = (OSError, SyntaxError, ValueError, TypeError, OverflowError, Image.DecompressionBombError)
Pixels = NDArray[np.uint8]


class Row(TypedDict):
    """The answer to one image. Either `error` is None, or all other fields are."""

    label: str | None
    probability: float | None
    probabilities: dict[str, float] | None
    error: str | None


def refused(reason: object) -> Row:
    """The row of an image that cannot be classified."""
    return Row(label=None, probability=None, probabilities=None, error=str(reason))


def answers(logits: Logits, classes: Sequence[str]) -> list[Row]:
    """Turn a model's logits (examples, classes) into rows."""
    probabilities = torch.from_numpy(with_finite_maximum(logits)).softmax(dim=1).numpy()
    shares = probabilities.tolist()
    return [
        Row(
            label=classes[label],
            probability=row[label],
            probabilities=dict(zip(classes, row, strict=True)),
            error=None,
        )
        if label >= 0
        else refused("the model's output is not a number")
        for label, row in zip(predicted(probabilities).tolist(), shares, strict=True)
    ]


def as_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a data frame, which MLflow expects."""
    frame = pd.DataFrame(rows, columns=[*Row.__annotations__])
    # Otherwise pandas turns None into NaN, which MLflow's server would write, and JSON has no NaN.
    return frame.astype(object).where(frame.notna(), None) if frame["error"].any() else frame


class Classifier:
    """Classifies images with the model in a folder.

    Attributes:
        noun: what the model classifies, for people.
        columns: names of the columns of a request; the first one is required.
        batch: about as many images are worth a forward pass together.
        reading: says what `read` makes of an example; models with the same can share it.
    """

    noun = "pictures"
    columns: tuple[str, ...] = ("image",)
    batch = BATCH

    def __init__(self, folder: Path, model: tuple[Architecture, nn.Module] | None = None) -> None:
        """
        Args:
            folder: holds `model.json` and `model.safetensors`.
            model: that of the folder, if it is open already.
        """
        self.architecture, self._model = model or open_model(folder)
        if self.architecture.of_text:
            raise ModelError(
                f"{folder} is a model of texts, and pictures are answered here: serve it by "
                "'mlflow models serve', or load it by mlflow.pyfunc"
            )
        self._inputs = image_input(self.architecture)
        self.reading = self._inputs.name

    def predict(self, images: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify images.

        Args:
            images: a frame with a column 'image', a list, or an array (examples, height, width, 3).
                Each image is an encoded file (PNG, JPEG, ...) as bytes or in base64, or a uint8
                array (height, width, 3).

        Returns:
            A row for each image: 'label', its 'probability', 'probabilities' by class, and 'error'.
            If an image cannot be used, its row has the reason in 'error' and None in the other
            columns; all other images are classified.

        Raises:
            ValueError: there are no images.
        """
        column = image_column(images)
        rows: list[Row] = []
        entries = iter(column)
        while part := list(islice(entries, BATCH)):  # at most one batch is decoded at a time
            rows += self.rows(self.read(part))
        return as_frame(rows)

    def read(self, images: Iterable[Any]) -> list[Pixels | str]:
        """Decode and resize images.

        Returns:
            For each image its pixels, uint8 (size, size, 3), or the reason why it cannot be used.
        """
        return [self._pixels(image) for image in images]

    def rows(self, images: Sequence[Pixels | str]) -> list[Row]:
        """Classify the images that `read` returned, in batches of `BATCH`."""
        readable = [image for image in images if not isinstance(image, str)]
        rows: list[Row] = []
        for start in range(0, len(readable), BATCH):
            logits = self.logits(readable[start : start + BATCH])
            rows += answers(logits, self.architecture.classes)
        remaining = iter(rows)
        return [refused(image) if isinstance(image, str) else next(remaining) for image in images]

    def try_out(self) -> None:
        """Classify a blank image, so that a model that cannot raises its error now."""
        size = self.architecture.image_size
        self.rows([np.zeros((size, size, 3), dtype=np.uint8)])

    @torch.inference_mode()
    def logits(self, images: Sequence[Pixels]) -> Logits:
        """The logits (images, classes) of one forward pass over pixels that `read` returned."""
        pixels = to_tensor(np.stack(images))
        logits: Logits = self._model(self._inputs.prepare(pixels)).float().numpy()
        return logits

    def _pixels(self, image: Any) -> Pixels | str:
        try:
            return np.asarray(self._inputs.resize(opened(image)), dtype=np.uint8)
        except BROKEN as error:
            return str(error) or type(error).__name__


def image_column(images: Any) -> Any:
    """The entries of 'image' in a frame or dictionary; a list or an array as it is.

    Raises:
        ValueError: the column is missing or empty, or `images` is not a list.
    """
    column = images
    if isinstance(images, pd.DataFrame | Mapping):
        if "image" not in images:
            raise ValueError(f"expected a column 'image', got {list(images)[:10]}")
        column = images["image"]
    scalar = isinstance(column, np.ndarray) and column.ndim == 0
    if scalar or isinstance(column, str | bytes | Mapping) or not isinstance(column, Sized):
        raise ValueError(f"expected a list of images, got {type(column).__name__}")
    if len(column) == 0:
        raise ValueError("no images were given")
    return column


def opened(image: Any) -> Image.Image:
    """Open an image in any of the forms that `Classifier.predict` takes, as RGB.

    Raises:
        OSError, SyntaxError, ValueError, TypeError, DecompressionBombError: the image cannot be
            used.
    """
    if isinstance(image, str):
        image = base64.b64decode(image, validate=True)
    if isinstance(image, bytes):
        return decode(image)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"expected (height, width, 3), got {array.shape}")
    if array.dtype != np.uint8:
        if array.dtype.kind not in "iufb":
            raise ValueError(f"expected pixels of 0 to 255, got {array.dtype}")
        if not (array.min() >= 0 and array.max() <= 255) or (array % 1).any():
            raise ValueError("expected pixels of 0 to 255 in whole numbers")
    picture = Image.fromarray(array.astype(np.uint8))
    require_shape(picture, default_limits())
    return picture
