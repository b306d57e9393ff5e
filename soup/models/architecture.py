"""The description of a model, stored as `model.json` beside its weights."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from unicodedata import normalize

from soup import limits
from soup.errors import BadInput
from soup.files import BadJson, parse_json, read_bytes, write_json, write_text
from soup.models.arguments import is_word, unfit, unfit_config
from soup.models.text_arguments import unfit_text

DESCRIPTION_FILE = "model.json"  # beside the weights
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "nearest-exact", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
CROP_PCT = (0.25, 4.0)
# How an input is made: of a model of images, and of texts. The others are not written.
IMAGE_FIELDS = ("image_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
TEXT_FIELDS = ("tokenizer", "max_length", "prompt")


class ModelError(BadInput, ValueError):
    """A model cannot be built, or weights do not fit it; the message says which and why."""


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a model and to prepare its input.

    Attributes:
        library: 'timm', 'open_clip' or 'transformers'.
        model: name of the model in the library, or path of an open_clip config.
        classes: class names; the position of a name is its label. A text model with a single one
            predicts a number of this name.
        image_size: height and width of the input, pixels.
        mean, std: per channel, of pixel values scaled to 0..1.
        interpolation: how images are resized ('bicubic', 'bilinear').
        crop_pct: the shorter side is resized to image_size / crop_pct before the centre crop.
        crop_mode: 'center'; 'squash' resizes both sides without keeping the aspect ratio;
            'border' resizes the longer side and pads the shorter one.
        kwargs: passed to the library's create_model.
        config: configuration of an open_clip image tower, or of a model of transformers. It is
            stored so that the model is built the same without the user's config file and after a
            change of the library's configs.
        tokenizer: name of a file of a text model's tokenizer -> its content, as transformers writes
            it; empty for images, as the fields of images are unset for texts.
        max_length: tokens at which a text is cut.
        prompt: what a model that writes labels reads, with {text} and {text_pair}; '' for a model
            that reads the text or pair itself.
    """

    library: str
    model: str
    classes: tuple[str, ...]
    image_size: int = 0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 0
    prompt: str = ""

    @property
    def package(self) -> str:
        """What pip calls the library."""
        return "open_clip_torch" if self.library == "open_clip" else self.library

    @property
    def of_text(self) -> bool:
        """Whether the model classifies texts, not images."""
        return self.library == "transformers"

    @property
    def predicts_numbers(self) -> bool:
        """Whether the model has one output, a number, instead of one for each class.

        It is so in transformers: a model with one label is one of regression.
        """
        return self.of_text and len(self.classes) == 1

    @property
    def writes_labels(self) -> bool:
        """Whether the model writes labels as text (`soup.models.labels_as_text`)."""
        return self.of_text and "label_token_ids" in self.config

    @property
    def unit(self) -> str:
        """What the model classifies, for people: 'images' or 'texts'."""
        return "texts" if self.of_text else "images"

    def save(self, path: Path) -> None:
        """Write the description as JSON; beside it, those files of a text model by which
        transformers opens the folder.

        Raises:
            ModelError: a description may not hold this (`require_sound`): it could not be read.
        """
        require_sound(self._fields(), "the model")
        write_json(path, self._fields())
        if self.of_text:
            write_json(path.with_name("config.json"), self.config)
            for name, content in self.tokenizer.items():
                write_text(path.with_name(name), content)

    def text(self) -> str:
        """JSON in one line, for the metadata of a weights file."""
        return json.dumps(self._fields(), sort_keys=True)

    def _fields(self) -> dict[str, Any]:
        """The fields that say something of a model of this kind."""
        unset = IMAGE_FIELDS if self.of_text else TEXT_FIELDS
        return {name: value for name, value in asdict(self).items() if name not in unset}

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
        ModelError: the text is not the JSON of such fields; all that is wrong is listed. Or they
            are what no description may hold (`require_sound`).
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
        if not isinstance(raw, Mapping):
            raise ValueError(f"it is a {type(raw).__name__}, not a table of fields")
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
        known = check(description, raw, "wrong").model_dump(exclude_unset=True)
        require_sound(known, source)
        return known
    except ModelError:
        raise
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source} does not describe a model: {reason}") from None


def require_sound(fields: Mapping[str, Any], source: str) -> None:
    """Check what a description says before anything is built from it.

    Args:
        fields: some or all fields of an `Architecture`.
        source: where they are from, for the error message.

    Raises:
        ModelError: an argument does not shape a network, the model is named by an address or a
            path, or a number is out of range.
    """
    try:
        reason = _unsound(fields)
    except (TypeError, AttributeError, ValueError) as error:  # not of their types
        reason = f"{error}"
    if reason:
        raise ModelError(f"{source} is refused: {reason}")


def _unsound(fields: Mapping[str, Any]) -> str:
    """What is wrong with a description; '' if nothing is."""
    library, config = fields.get("library", "timm"), fields.get("config") or {}
    if library == "transformers":
        return unfit_text(fields) or _too_many(fields.get("classes", ()))
    name, side = fields.get("model"), fields.get("image_size", 1)
    crop, classes = fields.get("crop_pct", 1.0), fields.get("classes", ())
    reason = unfit(library, fields.get("kwargs") or {}) or (unfit_config(config) if config else "")
    # With its configuration an image tower needs no name: it may be what the user called it.
    if not reason and name is not None and not config and not is_word(name):
        reason = (
            f"it names the model {name[:100]!r}, and only names in {library} are looked up for a "
            "description; give the model yourself: --model"
        )
    if not 0 < side <= limits.IMAGE_SIDE:
        reason = f"image_size {side} is not within 1 to {limits.IMAGE_SIDE} pixels"
    if not CROP_PCT[0] <= crop <= CROP_PCT[1]:  # NaN is in no range
        reason = f"crop_pct {crop:g} is not within {CROP_PCT[0]:g} to {CROP_PCT[1]:g}"
    for word, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
        if fields.get(word, known[0]) not in known:
            reason = f"unknown {word} {fields[word][:50]!r}; known: {', '.join(known)}"
    mean, std = fields.get("mean", ()), fields.get("std", (1.0,))
    if not all(map(math.isfinite, mean)) or not all(0 < value < math.inf for value in std):
        reason = "mean and std must be finite, and std above 0"
    return _too_many(classes) or reason


def _too_many(classes: Sequence[str]) -> str:
    if len(classes) > limits.CLASSES or any(len(name) > limits.TEXT for name in classes):
        return f"more than {limits.CLASSES} classes, or a name longer than {limits.TEXT}"
    return ""
