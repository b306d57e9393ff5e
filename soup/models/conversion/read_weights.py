"""The weights in whatever file people have, under the names that a model itself has for them."""

from pathlib import Path

from soup.models.conversion import names, source_files
from soup.models.conversion.candidates import candidates, choose
from soup.models.conversion.errors import FormatError
from soup.weights import Weights


def weights_of(source: str | Path) -> Weights:
    """A file's weights as trained; nothing is written, and tensors stay mapped from the file.

    Wrappers' prefixes are stripped, and the published model-soups pool gets the names of
    `soup.models.clip_models.ClipClassifier`.

    Raises:
        FormatError: no weights that can be used; says what there is.
        CheckpointError: a safetensors file is damaged.
    """
    first = source_files.locate(Path(source))
    try:
        taken = choose(candidates(source_files.contents(first)), ema=False, key=None).weights
    except FormatError as error:
        raise FormatError(str(error) if str(first) in str(error) else f"{first}: {error}") from None
    short, _ = names.strip(taken, names.PREFIXES)
    weights = {new: taken[old] for old, new in short.items()}
    pool = names.from_model_soups(weights)
    return weights if pool is None else {new: weights[old] for old, new in pool.items()}
