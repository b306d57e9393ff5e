"""Cross-entropy with label smoothing; squared error; mixup and cutmix."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from soup.train.step import Loss

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """A loss for `fit`; labels are class indices or probabilities (batch, classes).

    Args:
        label_smoothing: probability mass spread over all classes, in [0, 1).
    """

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(images), labels, label_smoothing=label_smoothing)

    return loss


def squared_error(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The mean squared error of predicted numbers, a loss for `fit`; labels are (batch,)."""
    outputs: Tensor = model(inputs)
    return functional.mse_loss(outputs[:, 0], labels)


def label_likelihood(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The mean negative log-likelihood of the labels' texts, a loss for `fit`.

    Args:
        model: writes labels (`soup.models.labels_as_text`).
    """
    loss: Tensor = -model(inputs, labels).mean()
    return loss


def mixing(classes: int, mixup: float = 0.0, cutmix: float = 0.0) -> Mix:
    """A function that mixes the images of a batch and their labels.

    With both methods, each batch is mixed by one of them, at even odds.

    Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019.

    Args:
        classes: number of classes.
        mixup, cutmix: alpha of the Beta distribution that mixes two images; 0 for never.
    """
    ways: list[Any] = [
        way(alpha=alpha, num_classes=classes)
        for way, alpha in ((MixUp, mixup), (CutMix, cutmix))
        if alpha > 0
    ]
    if not ways:
        return lambda images, labels: (images, labels)
    mix: Mix = ways[0] if len(ways) == 1 else RandomChoice(ways)
    return mix
