"""The initialisation from transformers: a model by name or folder, its tokenizer, a new head."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from soup.config.params import Base
from soup.errors import some
from soup.files import read_json
from soup.models.architecture import Architecture, ModelError
from soup.models.head_from_names import head_from_names, require_pooled
from soup.models.inputs import text_input_of
from soup.models.kept_head import reorder, require_same
from soup.models.labels_as_text import WRITERS, tokens_of_labels
from soup.models.pretrained_tokenizer import first_line, max_length_of, tokenizer_of
from soup.models.text_input import TOKENIZER_FILE, require_vocabulary
from soup.models.transformers_models import (
    CONFIG_FILE,
    as_classifier,
    config_from,
    head,
    plain_config,
    require_kind,
)

SEED = 0  # of the layers that the weights lack


def make_base(
    base: Base, classes: tuple[str, ...], prompt: str = ""
) -> tuple[Architecture, nn.Module, str]:
    """The initialisation of all fine-tunes, with a head of zeros unless the head is kept.

    The weights are converted to float32, so that small steps are not rounded away.

    Args:
        base: the parameters of the initialisation.
        classes: class names; the position of a name is its label.
        prompt: what a model that writes labels reads, with {text} and {text_pair}.

    Returns:
        The architecture, the model in evaluation mode, and a line about the layers that the weights
        lack, or ''.

    Raises:
        ModelError: the model cannot be found or loaded, its kind is not supported, or the weights
            or the kept head do not fit.
        TokenizerError: the tokenizer cannot be used, or belongs to another model.
    """
    with _quiet():
        values = _values(base)
        writes = base.head == "text"
        if writes and values["model_type"] not in WRITERS:
            raise ModelError(
                f"base.head: text: {base.model} is of type {values['model_type']}, which writes no "
                f"text ({', '.join(WRITERS)} do); take head: new"
            )
        config = config_from(values, classes)
        tokenizer, pad = tokenizer_of(base)
        if writes:
            end = config.eos_token_id
            words = tokens_of_labels(tokenizer[TOKENIZER_FILE], classes, end)
            config.label_token_ids = words
        model, note = _model(base, config, values, classes)
    name = Path(base.model).name
    rows = model.get_input_embeddings().num_embeddings
    require_vocabulary(tokenizer[TOKENIZER_FILE], rows, name)
    original = type(model).__name__
    classifier = as_classifier(model).eval()
    linear = head(classifier)
    if base.head == "new":
        nn.init.zeros_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    architecture = Architecture(
        library="transformers",
        model=name,
        classes=classes,
        config=plain_config(config, original) | {"pad_token_id": pad},
        tokenizer=tokenizer,
        max_length=max_length_of(base, config, tokenizer),
        prompt=prompt if writes else "",
    )
    inputs = text_input_of(architecture)
    if base.head == "zeroshot":
        require_pooled(base, values, note)
        given = len(base.class_names or classes)
        if given != len(classes):
            raise ModelError(f"base.class_names: {given} class_names for {len(classes)} classes")
        head_from_names(classifier, linear, inputs, base.class_names or classes)
    return architecture, classifier, note


def described(base: Base) -> Architecture:
    """The architecture of a fine-tuned model, with the classes that its config names.

    Raises:
        ModelError: the config or the tokenizer cannot be loaded, or the kind is not supported.
        TokenizerError: the tokenizer cannot be used, or belongs to another model.
    """
    with _quiet():
        values = _values(base)
        classes = tuple(_names(values))
        config = config_from(values, classes)
        tokenizer, pad = tokenizer_of(base)
    require_vocabulary(tokenizer[TOKENIZER_FILE], config.vocab_size, Path(base.model).name)
    kind = AutoModelForSequenceClassification._model_mapping[type(config)].__name__
    return Architecture(
        library="transformers",
        model=Path(base.model).name,
        classes=classes,
        config=plain_config(config, kind) | {"pad_token_id": pad},
        tokenizer=tokenizer,
        max_length=max_length_of(base, config, tokenizer),
    )


def require(base: Base) -> None:
    """Check that the model exists and its kind is supported; no weights are read.

    Raises:
        ModelError: it does not exist, or is not supported.
    """
    with _quiet():
        _values(base)


def _values(base: Base) -> dict[str, Any]:
    """The values of the model's config.json, overridden by those of `base.kwargs`."""
    file = Path(base.model) / CONFIG_FILE
    try:
        if Path(base.model).is_dir():
            values = read_json(file)
        else:
            values = AutoConfig.from_pretrained(base.model, trust_remote_code=False).to_dict()
    except Exception as error:  # the hub raises many kinds; all mean the same here
        raise ModelError(
            f"base.model: {base.model} is neither a folder with a {CONFIG_FILE} nor a model that "
            f"can be had: {first_line(error)}"
        ) from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} is no JSON object")
    require_kind(values)
    unknown = [key for key in base.kwargs if key not in values]
    if unknown:
        raise ModelError(
            f"base.kwargs: the config of {base.model} has no {', '.join(unknown)}; it has "
            f"{some(sorted(values), 40)}"
        )
    return values | dict(base.kwargs)


def _model(base: Base, config: Any, values: Any, classes: tuple[str, ...]) -> tuple[Any, str]:
    """The model of transformers with its weights, and a line about the tensors that they lack."""
    writes = base.head == "text"
    kind = AutoModelForSeq2SeqLM if writes else AutoModelForSequenceClassification
    if base.weights == "random":
        with _seeded():
            made = kind.from_config(config, dtype=torch.float32)
        return made, ""
    source = base.model if base.weights == "pretrained" else base.weights
    kept = base.head == "keep"
    if kept:
        _require_kept(base, values, classes)
    try:
        with _seeded():
            model, info = kind.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
            )
    except Exception as error:  # the hub raises many kinds; all mean the same here
        raise ModelError(
            f"base.weights: the weights of {source} cannot be had: {first_line(error)}"
        ) from None
    wrong = _unfit(model, info, kept or writes)
    if wrong:
        raise ModelError(
            f"the weights of {source} do not fit a {type(model).__name__} of this config:\n  "
            + some(wrong, 12, "\n  ")
        )
    if kept:
        names = _names(values)
        if not _unnamed(names):
            reorder(head(model), names, classes)
    if writes:
        return model, ""
    # The last layer is set to zeros; other missing layers are initialised at random.
    first = head(model)
    last = {n for n, p in model.named_parameters() if any(p is q for q in first.parameters())}
    lacking = sorted({*info["missing_keys"]} - last)
    return model, f"the weights lack {some(lacking, 6)}: random, seed {SEED}" if lacking else ""


def _unfit(model: Any, info: Any, kept: bool) -> list[str]:
    """Problems of the loaded weights; all tensors but the head and the pooling must be present."""
    body = f"{model.base_model_prefix}."

    def needed(name: str) -> bool:
        return kept or (name.startswith(body) and ".pooler." not in name)

    missing = [f"missing: {n}" for n in sorted(info["missing_keys"]) if needed(n)]
    shapes = [
        f"{name} is {tuple(stored)}, the model wants {tuple(wanted)}"
        for name, stored, wanted in sorted(info["mismatched_keys"])
        if needed(name)
    ]
    return missing + shapes


def _require_kept(base: Base, values: Any, classes: tuple[str, ...]) -> None:
    names = _names(values)
    if len(names) != len(classes) or not _unnamed(names):
        require_same(base.model, names, classes)


def _names(values: Any) -> list[str]:
    """The class names of a config.json; LABEL_0, ... if it has none."""
    named = values.get("id2label") or {}
    if named:
        return [str(named[key]) for key in sorted(named, key=int)]
    return [f"LABEL_{index}" for index in range(values.get("num_labels", 2))]


def _unnamed(names: list[str]) -> bool:
    return names == [f"LABEL_{index}" for index in range(len(names))]


@contextmanager
def _seeded() -> Iterator[None]:
    """Make random layers reproducible; the caller's random numbers are not affected."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars and tables that transformers prints while it loads."""
    logging: Any = transformers.utils.logging
    before, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()
