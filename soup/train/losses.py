"""Cross-entropy with label smoothing and mixup."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import MixUp


def classification(
    classes: int, label_smoothing: float = 0.0, mixup: float = 0.0
) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A loss for `fit`.

    Args:
        label_smoothing: share of the target spread over all classes.
        mixup: alpha of the Beta distribution that images are mixed by; 0 does not mix.
    """
    mix = MixUp(alpha=mixup, num_classes=classes) if mixup > 0 else None

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if mix is not None:
            images, labels = mix(images, labels)
        return functional.cross_entropy(model(images), labels, label_smoothing=label_smoothing)

    return loss
