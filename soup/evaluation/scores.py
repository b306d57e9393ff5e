"""The scores that soups can be selected by: counts of errors, and other scores as costs."""

from typing import Any

import torch

from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, Score, top


def _multiclass(name: str, **options: Any) -> Score:
    """1 less the torchmetrics score `multiclass_NAME`, so that lower is better."""

    def cost(logits: torch.Tensor, labels: torch.Tensor) -> float:
        from torchmetrics.functional import classification

        function = getattr(classification, f"multiclass_{name}")
        return 1 - float(function(logits, labels, num_classes=logits.shape[1], **options))

    return cost


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


COUNTS: dict[str, ErrorFunction] = {"accuracy": TOP1_ERROR, "top5": top(5)}
SCORES: dict[str, Score] = {
    "f1": _multiclass("f1_score", average="macro"),
    "matthews": _multiclass("matthews_corrcoef"),
    "loss": _loss,
}
