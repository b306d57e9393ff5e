"""Text classifiers of transformers: `AutoModelForSequenceClassification`, from a configuration.

The input of a model is one tensor of whole numbers (batch, 2, length): the ids of tokens, and 1 +
their types, which is 0 behind the end of a text. The tensors of a model have transformers' names,
so that `from_pretrained` reads the files that this project writes.
"""

import copy
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from soup.models.architecture import Architecture, ModelError
from soup.models.labels_as_text import KEY, LabelsAsText
from soup.models.onednn import multiply_by_onednn
from soup.models.text_arguments import unfit_text
from soup.models.text_model import TextClassifier

CONFIG_FILE = "config.json"
# Keys that this project sets itself, or that say where a configuration was stored.
OURS = (
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "num_labels", "problem_type",
    "task_specific_params", "torch_dtype", "transformers_version",
)  # fmt: skip


def build(architecture: Architecture) -> nn.Module:
    """A text classifier with random weights, float32.

    Raises:
        ModelError: its configuration is missing or cannot be used.
    """
    config = config_of(architecture)
    try:
        # Not by the configuration's dtype, which is that of the original weights.
        model = kind_of(architecture).from_config(config, dtype=torch.float32)
    except Exception as error:  # transformers raises many kinds; all mean the same here
        raise ModelError(
            f"transformers cannot make {architecture.model}: {type(error).__name__}: {error}"
        ) from None
    return as_classifier(model)


def kind_of(architecture: Architecture) -> Any:
    """The class of transformers that makes a model."""
    if architecture.writes_labels:
        return AutoModelForSeq2SeqLM
    return AutoModelForSequenceClassification


def as_classifier(model: Any) -> nn.Module:
    """Change a model of transformers in place, so that it maps one tensor to logits."""
    kind: Any = type(model)
    writes = getattr(model.config, KEY, None) is not None
    model.__class__ = _classifier(kind, LabelsAsText if writes else TextClassifier)
    multiply_by_onednn(model)
    head(model)
    return cast(nn.Module, model)


def features(model: nn.Module, inputs: Tensor) -> Tensor:
    """The input of the head, (batch, features)."""
    seen: list[Tensor] = []
    handle = head(model).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model(inputs)
    finally:
        handle.remove()
    return seen[0]


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer that has an output for each class, or for each token of a vocabulary.

    Raises:
        ModelError: there is no such layer.
    """
    named: Any = model
    if getattr(named.config, "label_token_ids", None) is not None:
        words: nn.Linear = named.lm_head
        return words
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    found = next((m for m in reversed(layers) if m.out_features == named.config.num_labels), None)
    if found is None:
        raise ModelError(
            f"{type(model).__name__} has no linear head to fine-tune; choose a model that ends in "
            "one linear layer"
        )
    return found


def with_drop_path(architecture: Architecture, rate: float) -> Architecture:
    """Refuse stochastic depth, which models of transformers do not have.

    Raises:
        ModelError: always.
    """
    del rate
    raise ModelError(f"{architecture.model} has no drop path (drop_path_rate); set it to 0")


def config_of(architecture: Architecture) -> Any:
    """The configuration of a model, with its classes.

    Raises:
        ModelError: the configuration is missing, or its kind is not supported.
    """
    if not architecture.config:
        raise ModelError(f"the description of {architecture.model} lacks its config")
    return config_from(architecture.config, architecture.classes)


def config_from(values: Mapping[str, Any], classes: tuple[str, ...]) -> Any:
    """Make a configuration of transformers from the values of a config.json.

    Raises:
        ModelError: its kind is not supported, it asks for code of its own, or it is damaged.
    """
    require_kind(values)
    plain = copy.deepcopy(dict(values))
    for key in OURS:
        plain.pop(key, None)
    plain["id2label"] = dict(enumerate(classes))
    plain["label2id"] = {name: index for index, name in enumerate(classes)}
    if len(classes) == 1:
        plain["problem_type"] = "regression"
    try:
        return AutoConfig.for_model(plain.pop("model_type"), **plain)
    except Exception as error:  # transformers raises many kinds; all mean the same here
        raise ModelError(f"the config is damaged: {type(error).__name__}: {error}") from None


def require_kind(values: Mapping[str, Any]) -> None:
    """Check that a configuration is of a supported kind, and only shapes a network.

    Raises:
        ModelError: the configuration is refused.
    """
    plain = {name: value for name, value in values.items() if name not in OURS}
    if reason := unfit_text({"config": plain}):
        raise ModelError(reason)


def plain_config(config: Any, model: str) -> dict[str, Any]:
    """The values of a config.json for a model, with its classes, its architecture and float32."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    kept = {name: v for name, v in values.items() if name not in OURS or name.endswith("label")}
    kept = {name: v for name, v in kept.items() if not name.endswith("_implementation")}
    kept |= {"architectures": [model], "dtype": "float32"}
    return kept | ({"problem_type": "regression"} if config.num_labels == 1 else {})


@cache
def _classifier(kind: type, methods: type) -> type:
    """A subclass of a class of transformers, in which `methods` come first."""
    return type(kind.__name__, (methods, kind), {"__module__": kind.__module__})
