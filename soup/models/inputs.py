"""How an image or a text becomes the input of a model."""

from soup.files import BadJson, parse_json
from soup.models.architecture import Architecture, ModelError
from soup.models.text_input import SETTINGS_FILE, TOKENIZER_FILE, TextInput, text_input
from soup.models.transforms import ImageInput, image_input


def model_input(architecture: Architecture, border: int = 0) -> ImageInput | TextInput:
    """The input of a model of this architecture at evaluation.

    Args:
        border: pixels that are first cut off each side of an image.

    Raises:
        ModelError: the description lacks the tokenizer, or has an unknown crop mode.
    """
    if not architecture.of_text:
        return image_input(architecture, border)
    return text_input_of(architecture)


def text_input_of(architecture: Architecture) -> TextInput:
    """The input of a text model.

    Raises:
        ModelError: the description lacks the tokenizer, the maximum length or the padding token.
        TokenizerError: the tokenizer cannot be read.
    """
    tokenizer = architecture.tokenizer.get(TOKENIZER_FILE)
    pad = architecture.config.get("pad_token_id")
    if tokenizer is None or architecture.max_length < 1 or not isinstance(pad, int):
        raise ModelError(
            f"the description of {architecture.model} lacks its tokenizer, max_length or "
            "config.pad_token_id"
        )
    try:
        settings = parse_json(architecture.tokenizer.get(SETTINGS_FILE, "{}"), SETTINGS_FILE)
        types = "token_type_ids" in settings.get("model_input_names", ["token_type_ids"])
    except (BadJson, AttributeError, TypeError) as error:
        raise ModelError(f"the description of {architecture.model}: {error}") from None
    return text_input(tokenizer, architecture.max_length, pad, types, architecture.prompt)
