"""Reading the weights of a file of any supported format, under the tensor names of the model."""

from pathlib import Path

from soup.models.conversion import growth, names, source_files
from soup.models.conversion.candidates import candidates, choose
from soup.models.conversion.errors import FormatError
from soup.models.conversion.stand_ins import Outline
from soup.weights import Weights


def weights_of(source: str | Path) -> Weights:
    """The weights of a file as they were trained (not an average over steps, if there is one too).

    Nothing is written, and tensors stay mapped from the file. Prefixes of wrappers are stripped,
    and models of the published model-soups pool get the names of
    `soup.models.clip_models.ClipClassifier`.

    Raises:
        FormatError: the file has no usable weights; the message says what it has.
        CheckpointError: a safetensors file is damaged.
    """
    first = source_files.locate(Path(source))
    try:
        content = source_files.contents(first)
        chosen = choose(candidates(content), ema=False, key=None).weights
    except FormatError as error:
        raise FormatError(str(error) if str(first) in str(error) else f"{first}: {error}") from None
    growth.require_sound_size(chosen, first, source_files.size_of(first))
    weights = {new: chosen[old] for old, new in names.in_model(chosen).kept.items()}
    return content.read(weights) if isinstance(content, Outline) else weights
