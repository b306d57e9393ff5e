"""The tokenizer of a model of transformers, as files that are stored with the model."""

import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from soup.config.params import Base
from soup.models.architecture import ModelError
from soup.models.text_input import SETTINGS_FILE, TOKENIZER_FILE

OF_LOADING = ("is_local", "local_files_only", "name_or_path")  # where the tokenizer was loaded from
HUGE = 10**6  # tokens; a tokenizer without a maximum length states a larger number
LONGEST = 512  # maximum length in tokens, if neither model nor tokenizer states one


def tokenizer_of(base: Base) -> tuple[dict[str, str], int]:
    """The files of the tokenizer, as transformers writes them, and the id of its padding token."""
    source = base.tokenizer or base.model
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the hub raises many kinds; all mean the same here
        raise ModelError(
            f"the tokenizer of {source} cannot be had: {first_line(error)}; name one: "
            "base.tokenizer: FOLDER"
        ) from None
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {source} has no {TOKENIZER_FILE}, and only such are supported; "
            "name another: base.tokenizer"
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(f"the tokenizer of {source} has no token to fill texts up with")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        whole = (Path(folder) / TOKENIZER_FILE).read_text(encoding="utf-8")
        settings = json.loads((Path(folder) / SETTINGS_FILE).read_text(encoding="utf-8"))
    settings = {name: value for name, value in settings.items() if name not in OF_LOADING}
    # In transformers, the tokenizer's class says whether the model gets token types. Store it here.
    settings["model_input_names"] = [*tokenizer.model_input_names]
    if settings.get("model_max_length", 0) > HUGE:  # a number that other programs cannot read
        settings["model_max_length"] = HUGE
    files = {TOKENIZER_FILE: whole, SETTINGS_FILE: json.dumps(settings, indent=2, sort_keys=True)}
    return files, int(tokenizer.pad_token_id)


def max_length_of(base: Base, config: Any, tokenizer: dict[str, str]) -> int:
    """The maximum length in tokens: `base.max_length`, or as many as the model has positions.

    Raises:
        ModelError: `base.max_length` exceeds the number of positions.
    """
    positions = getattr(config, "max_position_embeddings", None) or 0
    # RoBERTa and similar models number positions from the id of the padding token + 1.
    if config.model_type in ("roberta", "camembert", "xlm-roberta", "mpnet"):
        positions -= (config.pad_token_id or 0) + 1
    if config.model_type == "t5":  # relative positions: any length
        positions = 0
    if positions and base.max_length and base.max_length > positions:
        raise ModelError(
            f"base.max_length: {base.model} takes {positions} tokens, not {base.max_length}"
        )
    said = int(json.loads(tokenizer[SETTINGS_FILE]).get("model_max_length", LONGEST))
    usual = min(positions or LONGEST, said if said < HUGE else LONGEST)
    return base.max_length or usual


def first_line(error: Exception) -> str:
    """The kind and the first line of another library's error."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
