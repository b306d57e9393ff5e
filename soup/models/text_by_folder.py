"""The architecture of a text checkpoint, from this project's description or Hugging Face's."""

from pathlib import Path

from soup.config.params import Base
from soup.files import BadJson, read_json
from soup.models.architecture import Architecture, ModelError
from soup.models.stored_description import stored
from soup.models.text_arguments import unfit_kind
from soup.models.text_input import TOKENIZER_FILE
from soup.weights.checkpoint import Checkpoint


def text_architecture(weights: Checkpoint) -> Architecture | None:
    """The architecture of a text checkpoint; None if nothing says that it is of texts.

    Args:
        weights: weights of this project, or in a folder with config.json and tokenizer.json.

    Raises:
        ModelError: a description is damaged, or the kind of model is not supported.
    """
    noted = stored(weights).fields
    if noted.get("library") == "transformers":
        return Architecture(**noted)
    folder = folder_of(weights)
    if noted or folder is None:
        return None
    from soup.models.building import library

    library("transformers")  # raises ModelError if transformers is not installed
    from soup.models.transformers_init import described

    return described(Base(library="transformers", model=str(folder)))


def folder_of(weights: Checkpoint) -> Path | None:
    """The folder of a text model in Hugging Face's layout; None for any other checkpoint."""
    return None if unsupported(weights) else Path(weights.files[0]).parent


def unsupported(weights: Checkpoint) -> str:
    """Why a checkpoint is in no folder of a text model in Hugging Face's layout; '' if it is.

    Raises:
        ModelError: its config.json cannot be read.
    """
    folder = Path(weights.files[0]).parent
    file = folder / "config.json"
    if not file.is_file() or not (folder / TOKENIZER_FILE).is_file():
        return f"give its folder, with config.json and {TOKENIZER_FILE} beside the weights"
    try:
        values = read_json(file)
    except (OSError, BadJson) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
    return unfit_kind(values) if isinstance(values, dict) else f"{file} is no JSON object"
