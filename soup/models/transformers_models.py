"""Text classifiers of transformers: `AutoModelForSequenceClassification`, from a configuration.

The input of a model is one tensor of whole numbers (batch, 2, length): the ids of tokens, and 1 +
their types, which is 0 behind the end of a text. The tensors of a model have transformers' names,
so that `from_pretrained` reads the files that this project writes.
"""

import copy
import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from soup.models.architecture import Architecture, ModelError
from soup.models.onednn import multiply_by_onednn
from soup.models.text_arguments import unfit_text

CONFIG_FILE = "config.json"
# Keys that this project sets itself, or that say where a configuration was stored.
OURS = (
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "num_labels", "problem_type",
    "task_specific_params", "torch_dtype", "transformers_version",
)  # fmt: skip


class TextClassifier(nn.Module):
    """The methods that this project adds to a model of transformers."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Whole numbers (batch, 2, length) -> logits (batch, classes)."""
        ids, types = inputs[:, 0], inputs[:, 1]
        named = {"input_ids": ids, "attention_mask": (types > 0).long()}
        model: Any = self
        if getattr(model.config, "type_vocab_size", 0) > 1 and _takes_types(_original(type(self))):
            named["token_type_ids"] = (types - 1).clamp(min=0)
        logits: Tensor = super().forward(**named, return_dict=True).logits
        return logits

    def group_matcher(self, coarse: bool = False) -> Any:  # noqa: ARG002 # timm names it
        """The layer of each parameter, for layer-wise decay: embeddings, blocks, head.

        Layers after the last block (norms, pooling) belong to that block, as in timm. The blocks
        of T5's decoder come after those of its encoder.
        """
        blocks = r"^[\w.]*?(?:encoder\.layer|encoder\.block|transformer\.layer|layers"
        blocks += r"|encoder\.albert_layer_groups)\.(\d+)"
        return {
            "stem": r"^[\w.]*?(?:embeddings|shared|embed_tokens|relative_attention_bias)",
            "blocks": [
                (r"^[\w.]*?decoder\.block\.(\d+)", (1,)),
                (blocks, (0,)),
                (r"^(?!classif|score)[\w.]*(?:pooler|final_layer_norm|final_norm)", (99999,)),
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch gradient checkpointing on or off.

        Raises:
            AssertionError: the model does not support it.
        """
        model: Any = self
        assert model.supports_gradient_checkpointing, "transformers has none for it"
        if enable:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            model.gradient_checkpointing_disable()


def build(architecture: Architecture) -> nn.Module:
    """A text classifier with random weights, float32.

    Raises:
        ModelError: its configuration is missing or cannot be used.
    """
    config = config_of(architecture)
    try:
        # Not by the configuration's dtype, which is that of the original weights.
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except Exception as error:  # transformers raises many kinds; all mean the same here
        raise ModelError(
            f"transformers cannot make {architecture.model}: {type(error).__name__}: {error}"
        ) from None
    return as_classifier(model)


def as_classifier(model: Any) -> nn.Module:
    """Change a model of transformers in place, so that it maps one tensor to logits."""
    kind: Any = type(model)
    model.__class__ = _classifier(kind)
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
    """The last linear layer that has an output for each class.

    Raises:
        ModelError: there is no such layer.
    """
    named: Any = model
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
    return kept | {"architectures": [model], "dtype": "float32"}


@cache
def _classifier(kind: type) -> type:
    """A subclass of a class of transformers, in which `TextClassifier`'s methods come first."""
    return type(kind.__name__, (TextClassifier, kind), {"__module__": kind.__module__})


def _original(kind: type) -> Any:
    return kind.__mro__[kind.__mro__.index(TextClassifier) + 1]


@cache
def _takes_types(kind: Any) -> bool:
    return "token_type_ids" in inspect.signature(kind.forward).parameters
