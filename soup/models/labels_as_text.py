"""T5 as it was trained: it reads a text with the task's prefix, and writes the label as text.

Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer",
JMLR 2020; "Model soups" fine-tunes T5 so. The logit of a class is the log-probability of its
label's tokens, computed by teacher forcing. The token that ends a text is one of them, so that a
label may be the beginning of another. A softmax of these logits compares the labels with each
other, and the highest is the label that T5 would write if it could write nothing else.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from soup.models.architecture import ModelError
from soup.models.text_input import opened
from soup.models.text_model import TextClassifier

KEY = "label_token_ids"  # in the configuration: the tokens of each class's label
WRITERS = ("t5",)  # kinds of models that can write labels


class LabelsAsText(TextClassifier):
    """The methods that this project adds to `T5ForConditionalGeneration`."""

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-probabilities of labels.

        Args:
            inputs: whole numbers (batch, 2, length).
            labels: class indices (batch,).

        Returns:
            The log-probability of every label, (batch, classes); or, if `labels` are given, of the
            example's own, (batch, 1), which costs one pass of the decoder.
        """
        model: Any = self
        mask = (inputs[:, 1] > 0).long()
        encoded = model.encoder(input_ids=inputs[:, 0], attention_mask=mask).last_hidden_state
        written = _padded(getattr(model.config, KEY), inputs.device)
        if labels is not None:
            return self._likelihood(encoded, mask, written[labels])[:, None]
        each = [
            self._likelihood(encoded, mask, tokens[tokens >= 0].expand(len(inputs), -1))
            for tokens in written
        ]
        return torch.stack(each, dim=1)

    def _likelihood(self, encoded: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        """The log-probability of tokens (batch, length), filled up with -1; (batch,)."""
        model: Any = self
        present = tokens >= 0
        target = tokens.clamp(min=0)
        before = torch.full_like(target[:, :1], model.config.decoder_start_token_id)
        logits = (
            super(TextClassifier, self)
            .forward(
                attention_mask=mask,
                encoder_outputs=BaseModelOutput(encoded),
                decoder_input_ids=torch.cat([before, target[:, :-1]], dim=1),
                use_cache=False,
                return_dict=True,
            )
            .logits
        )
        each = logits.float().log_softmax(dim=2).gather(2, target[:, :, None])[:, :, 0]
        total: Tensor = torch.where(present, each, 0.0).sum(dim=1)
        return total


def _padded(tokens: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Whole numbers (classes, longest), filled up with -1."""
    longest = max(map(len, tokens))
    rows = [[*row, *[-1] * (longest - len(row))] for row in tokens]
    return torch.tensor(rows, device=device)


def tokens_of_labels(tokenizer: str, classes: Sequence[str], end: int) -> list[list[int]]:
    """The tokens of each class's label, and the one that ends a text.

    Args:
        tokenizer: the content of the tokenizer's file.
        end: id of the token that ends a text.

    Raises:
        ModelError: two labels have the same tokens, or the tokenizer has none for a label.
    """
    encode = opened(tokenizer)
    unknown = getattr(encode.model, "unk_token", None)
    rows: dict[tuple[int, ...], str] = {}
    for name in classes:
        encoding = encode.encode(name, add_special_tokens=False)
        if not encoding.ids or unknown in encoding.tokens:
            raise ModelError(
                f"base.head: text: the tokenizer has no tokens for the label {name!r}; give the "
                "classes other names, or take head: new"
            )
        same = rows.setdefault((*encoding.ids, end), name)
        if same != name:
            raise ModelError(
                f"base.head: text: the labels {same!r} and {name!r} have the same tokens; give the "
                "classes other names, or take head: new"
            )
    return [[*ids] for ids in rows]
