"""The description of a model, stored as `model.json` beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from unicodedata import normalize

from soup.errors import BadInput
from soup.files import BadJson, parse_json, read_bytes, write_json

DESCRIPTION_FILE = "model.json"  # beside the weights


class ModelError(BadInput, ValueError):
    """A model cannot be built, or weights do not fit it; the message says which and why."""


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a model and to prepare its input.

    Attributes:
        library: 'timm' or 'open_clip'.
        model: name of the model in the library, or path of an open_clip config.
        classes: class names; the position of a name is its label.
        image_size: height and width of the input, pixels.
        mean, std: per channel, of pixel values scaled to 0..1.
        interpolation: how images are resized ('bicubic', 'bilinear').
        crop_pct: the shorter side is resized to image_size / crop_pct before the centre crop.
        crop_mode: 'center'; 'squash' resizes both sides without keeping the aspect ratio;
            'border' resizes the longer side and pads the shorter one.
        kwargs: passed to the library's create_model.
        config: configuration of an open_clip image tower. It is stored so that the tower is built
            the same without the user's config file and after a change of open_clip's configs.
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
        """Write the description as JSON."""
        write_json(path, asdict(self))

    def text(self) -> str:
        """JSON in one line, for the metadata of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def load(path: Path) -> "Architecture":
        """Read what `save` wrote; raises ModelError if the file is missing or damaged."""
        try:
            return Architecture.parse(read_bytes(path), str(path))
        except (OSError, BadJson) as error:
            raise ModelError(f"{path} does not describe a model: {error}") from None

    @staticmethod
    def parse(text: str | bytes, source: str) -> "Architecture":
        """Read a description from JSON.

        Args:
            source: where the text is from, for the error message.

        Raises:
            ModelError: the text is not the JSON of an architecture.
        """
        try:
            return Architecture(**fields_of(text, source))
        except TypeError as error:
            raise ModelError(f"{source} does not describe a model: {error}") from None


def fields_of(text: str | bytes, source: str) -> dict[str, Any]:
    """Some or all fields of an architecture, from JSON.

    Args:
        source: where the text is from, for the error message.

    Raises:
        ModelError: the text is not the JSON of such fields; all that is wrong is listed.
    """
    try:
        raw = parse_json(text, "it")
    except BadJson as error:
        raise ModelError(f"{source} does not describe a model: {error}") from None
    return known_fields(raw, source)


def known_fields(raw: Any, source: str) -> dict[str, Any]:
    """Some or all fields of an architecture, checked.

    Args:
        raw: values from JSON, by the names of fields.
        source: where they are from, for the error message.

    Raises:
        ModelError: they are not such fields; all that is wrong is listed.
    """
    kinds: Any = {field.name: (field.type, None) for field in fields(Architecture)}
    try:
        raw = dict(raw)
        for name in ("classes", "mean", "std"):
            if name in raw:
                raw[name] = tuple(raw[name])
        if "classes" in raw:  # as the labels of images are written
            raw["classes"] = tuple(
                normalize("NFC", name) if isinstance(name, str) else name for name in raw["classes"]
            )
        try:
            from pydantic import create_model

            from soup.config.validation import Strict, check
        except ModuleNotFoundError:  # weights are averaged where no model can be built
            return raw
        description = create_model("Description", __base__=Strict, **kinds)
        return check(description, raw, "wrong").model_dump(exclude_unset=True)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source} does not describe a model: {reason}") from None
