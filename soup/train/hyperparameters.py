"""The one record of a fine-tune's hyperparameters: drawn, hashed, logged and trained with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["float32", "bfloat16"]
Decay = Literal["cosine", "linear"]


@dataclass(frozen=True)
class Hyperparameters:
    """The settings that, with the initialisation, the images and the code, decide the result.

    Attributes:
        lr: peak learning rate.
        weight_decay: of matrices; norms and biases are not decayed.
        epochs: passes over the training images.
        label_smoothing: probability mass spread over all classes, in [0, 1).
        mixup, cutmix: alpha of the Beta distribution that mixes two images; 0 for never.
        augment: 'none', 'minimal', 'medium', 'strong' or a RandAugment policy of timm's.
        layer_decay: factor of the learning rate from each layer to the one below it.
        drop_path: stochastic depth at the last block.
        sam: radius rho of sharpness-aware minimisation; 0 for plain descent.
        seed: of image order, augmentation, dropout and mixing.
        optimizer: one of `timm.optim.list_optimizers()`.
        batch_size: images a step, on all devices together.
        accumulate: parts that a batch is computed in.
        warmup: share of all steps (below 1), or number of steps, in which the rate rises.
        decay: 'cosine' or 'linear', of the learning rate after the warm-up.
        clip: largest gradient norm; None for no limit.
        precision: of the model's passes; weights are kept and updated in float32.
        compile: whether torch.compile builds the model.
        grad_checkpointing: whether activations are computed again in the backward pass.
        frozen_batchnorm: whether BatchNorm layers keep the statistics of the initialisation.
        ema: decays of moving averages of the weights, each of which becomes one more ingredient.
        swa_start: share of the run after which stochastic weight averaging begins; None for never.
        swa_lr: the constant rate from there on, as a share of the peak.
        crop: smallest share of an image that a random crop keeps.
        flip: probability of a horizontal flip.
    """

    lr: float
    weight_decay: float
    epochs: int
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: str = "none"
    layer_decay: float = 1.0
    drop_path: float = 0.0
    sam: float = 0.0
    seed: int = 0
    optimizer: str = "adamw"
    batch_size: int = 128
    accumulate: int = 1
    warmup: float = 0.08
    decay: Decay = "cosine"
    clip: float | None = 1.0
    precision: Precision = "float32"
    compile: bool = False
    grad_checkpointing: bool = False
    frozen_batchnorm: bool = False
    ema: tuple[float, ...] = ()
    swa_start: float | None = None
    swa_lr: float = 0.5
    crop: float = 1.0
    flip: float = 0.5

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON.

        Without `frozen_batchnorm` unless it is set: digests from before it was an option stay.
        """
        values = asdict(self) | {"ema": [*self.ema]}
        if not self.frozen_batchnorm:
            del values["frozen_batchnorm"]
        return values

    def readable(self) -> dict[str, Any]:
        """All settings by name, for people: a rate that was drawn has six digits, not seventeen."""
        values = asdict(self) | {"ema": [*self.ema]}
        return {name: _shorter(value) for name, value in values.items()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Hyperparameters":
        """The value whose `as_dict` gave `values`."""
        return Hyperparameters(**{**values, "ema": tuple(values["ema"])})


def _shorter(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
