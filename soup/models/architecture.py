"""What a model is: the description that stands as `model.json` beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from soup.errors import BadInput
from soup.files import write_json

DESCRIPTION_FILE = "model.json"  # beside the weights


class ModelError(BadInput, ValueError):
    """A model that cannot be made, or weights that do not fit it; says which and why."""


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model and feed it; stands as `model.json` beside its weights.

    Attributes:
        library: 'timm' or 'open_clip'.
        model: its name there, or a path to an open_clip config.
        kwargs: passed to the library's create_model.
        classes: class names; position is label.
        image_size: height and width of the input, pixels.
        mean, std: per channel, of pixels scaled to 0..1.
        interpolation: how images are resized ('bicubic', 'bilinear').
        crop_pct: the shorter side is resized to image_size / crop_pct before the centre crop.
        crop_mode: 'center'; 'squash' resizes both sides, 'border' the longer one and pads.
        config: what an open_clip image tower is built from, so that it is built alike wherever
            that file of the user's is not, and whatever open_clip's own become.
    """

    library: str
    model: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    def text(self) -> str:
        """JSON in one line, for the metadata of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def load(path: Path) -> "Architecture":
        try:
            return Architecture.parse(path.read_text(), str(path))
        except OSError as error:
            raise ModelError(f"{path} does not describe a model: {error}") from None

    @staticmethod
    def parse(text: str, source: str) -> "Architecture":
        """
        Raises:
            ModelError: it is not the JSON of an architecture; `source` is named.
        """
        try:
            raw = json.loads(text)
            for name in ("classes", "mean", "std"):
                raw[name] = tuple(raw[name])
            return Architecture(**raw)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{source} does not describe a model: {error}") from None
