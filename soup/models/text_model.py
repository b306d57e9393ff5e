"""What all text models of this project add to the classes of transformers."""

import inspect
from functools import cache
from typing import Any

from torch import Tensor, nn


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


def _original(kind: type) -> Any:
    return kind.__mro__[kind.__mro__.index(TextClassifier) + 1]


@cache
def _takes_types(kind: Any) -> bool:
    return "token_type_ids" in inspect.signature(kind.forward).parameters
