"""From decoded images to model input: resizing for the cache, augmentation for training.

torchvision's and timm's transforms, put together; nothing here is our own arithmetic.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from soup.models import Architecture, ModelError


def evaluation(architecture: Architecture) -> tuple[Callable[[Image.Image], Image.Image], str]:
    """Resize and crop as timm does at evaluation; and a name for it, for the cache."""
    size = architecture.image_size
    scaled = math.floor(size / architecture.crop_pct)
    mode = InterpolationMode(architecture.interpolation)
    named = f"{scaled} {architecture.interpolation}, centre crop {size}"
    match architecture.crop_mode:
        case "center":
            steps, name = Compose([Resize(scaled, mode), CenterCrop(size)]), f"resize {named}"
        case "squash":
            steps = Compose([Resize((scaled, scaled), mode), CenterCrop(size)])
            name = f"squash {named}"
        case "border":
            from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio

            fill = tuple(round(255 * value) for value in architecture.mean)
            keep = ResizeKeepRatio(scaled, longest=1.0, interpolation=architecture.interpolation)
            steps = Compose([keep, CenterCropOrPad(size, fill=fill)])
            name = f"border {fill} {named}"
        case other:
            raise ModelError(f"unknown crop_mode {other!r}; known: center, squash, border")

    def resize(image: Image.Image) -> Image.Image:
        same = image.size == (size, size) and scaled == size
        return image if same else steps(image)

    return resize, name


def training(
    architecture: Architecture, augment: str, crop: float, flip: float
) -> Callable[[Image.Image], Tensor]:
    """Random crop, flip and RandAugment by timm, to a uint8 tensor (3, size, size).

    Args:
        augment: 'none' or timm's policy string ('rand-m9-n2').
        crop: smallest share of the image's area that a crop keeps; with 1 images are resized and
            cropped as at evaluation.
        flip: probability of a horizontal flip.
    """
    from timm.data import create_transform

    size = architecture.image_size
    resize, _ = evaluation(architecture)
    random_steps: Callable[[Image.Image], Tensor] = create_transform(
        (3, size, size),
        is_training=True,
        scale=(crop, 1.0),
        hflip=flip,
        color_jitter=None,
        auto_augment=None if augment == "none" else augment,
        interpolation=architecture.interpolation,
        mean=architecture.mean,
        use_prefetcher=True,  # ends in a uint8 tensor; normalisation is done a batch at a time
    )
    if crop < 1:
        return random_steps
    steps: Any = random_steps
    return Compose([resize, *steps.transforms[1:]])  # all but the random crop, which comes first


def seeds(count: int, *parts: int) -> NDArray[np.uint32]:
    """Seeds, a function of a tuple of integers; a larger count changes none of the first ones."""
    return np.random.SeedSequence(parts).generate_state(count).astype(np.uint32)


def seed_all(seed: int) -> None:
    """Seed the three generators that timm and torchvision draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def normalise(pixels: Tensor, architecture: Architecture) -> Tensor:
    """uint8 (batch, 3, height, width) -> what the model was trained on, float32, channels last.

    Convolutions in this memory format are faster: 1.4 times the images a second in the demo's
    training on a CPU.
    """
    mean = torch.tensor(architecture.mean, device=pixels.device).mul_(255).view(3, 1, 1)
    std = torch.tensor(architecture.std, device=pixels.device).mul_(255).view(3, 1, 1)
    scaled = pixels.to(torch.float32, memory_format=torch.channels_last)
    return scaled.sub_(mean).div_(std)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (batch, height, width, 3) -> (batch, 3, height, width), a copy."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
