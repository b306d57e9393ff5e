"""From decoded images to a model's input: resizing at evaluation, augmentation in training.

The transforms are those of torchvision and timm.
"""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose

from soup.files import of_code, of_libraries
from soup.models.architecture import Architecture, ModelError

# Longer side to shorter, beyond which an image is cropped before it is resized: 10,000 x 20 pixels
# would become 128,000 x 256.
EXTREME = 8


class ImageInput(NamedTuple):
    """How an image becomes a model's input at evaluation.

    Attributes:
        resize: PIL image of any size -> PIL image of the size that the model takes.
        name: says what `resize` does; part of the key of decoded images.
        prepare: uint8 (batch, 3, height, width) -> the model's input.
    """

    resize: Callable[[Image.Image], Image.Image]
    name: str
    prepare: Callable[[Tensor], Tensor]


def image_input(architecture: Architecture, border: int = 0) -> ImageInput:
    """The input of a model of this architecture. Arguments and errors as in `evaluation`."""
    resize, name = evaluation(architecture, border)
    made_by = of_libraries("timm", "torchvision")
    name = f"{name}, code {of_code('soup.models.transforms')[:16]}, {made_by}"
    return ImageInput(resize, name, partial(normalise, architecture=architecture))


def evaluation(
    architecture: Architecture, border: int = 0
) -> tuple[Callable[[Image.Image], Image.Image], str]:
    """A function that resizes and crops by timm's transform, and its name for the cache.

    Args:
        border: pixels that are cut off each side of an image first.

    Raises:
        ModelError: the crop mode is not known.
    """
    from timm.data import create_transform
    from timm.data.transforms import str_to_pil_interp

    size, mode = architecture.image_size, architecture.crop_mode
    scaled = math.floor(size / architecture.crop_pct)
    fill = tuple(round(255 * value) for value in architecture.mean)
    names = {"center": "resize", "squash": "squash", "border": f"border {fill}"}
    if mode not in names:
        raise ModelError(f"unknown crop_mode {mode!r}; known: {', '.join(names)}")
    name = f"{names[mode]} {scaled} {architecture.interpolation}, centre crop {size}"
    whole: Any = create_transform(
        (3, size, size),
        crop_pct=architecture.crop_pct,
        crop_mode=mode,
        interpolation=architecture.interpolation,
        mean=architecture.mean,
        crop_border_pixels=border,
        use_prefetcher=True,
    )
    steps = Compose(whole.transforms[:-1])  # all but the conversion to a tensor
    resample = str_to_pil_interp(architecture.interpolation)

    def resize(image: Image.Image) -> Image.Image:
        if border and min(image.size) <= 2 * border:
            width, height = image.size
            raise ValueError(f"{width} x {height} pixels are no more than a border of {border}")
        same = image.size == (size, size) and scaled == size and not border
        if same:
            return image
        short, long = sorted(side - 2 * border for side in image.size)
        if long <= EXTREME * short or mode == "squash":
            return steps(image)
        *trim, shrink, cut = steps.transforms
        image = Compose(trim)(image)
        if mode == "border":
            return cut(_resized_whole(image, scaled, resample))
        wide_enough = size <= scaled * long // short
        return cut(_resized_middle(image, scaled, size, resample) if wide_enough else shrink(image))

    return resize, f"cut {border} off each side, {name}" if border else name


def _resized_middle(
    image: Image.Image, short: int, window: int, resample: Image.Resampling
) -> Image.Image:
    """The middle of an image whose shorter side is resized to `short`: `window` of its longer side.

    Each pixel is the same function of the image as if all of it were resized and then cropped: only
    those that would be cropped away are not computed. Pixels may be rounded otherwise, by 1 or 2.
    """
    width, height = image.size
    whole = int(short * max(width, height) / min(width, height))  # as torchvision rounds
    first = round((whole - window) / 2)
    step = max(width, height) / whole
    start, stop = first * step, (first + window) * step
    if width > height:
        return image.resize((window, short), resample, (start, 0, stop, height))
    return image.resize((short, window), resample, (0, start, width, stop))


def _resized_whole(image: Image.Image, long: int, resample: Image.Resampling) -> Image.Image:
    """The image with its longer side resized to `long`, as by timm, the other to 1 at least."""
    ratio = max(image.size) / long
    width, height = (max(1, round(side / ratio)) for side in image.size)
    return image.resize((width, height), resample)


# The paper's names of augmentation strengths: (smallest crop, flip, colour jitter, timm's policy).
# 'minimal' is a crop of 90 to 100%; 'medium' is timm's default; 'strong' is RandAugment with N = 2,
# M = 15.
STRENGTHS: dict[str, tuple[float, float, float | None, str | None]] = {
    "minimal": (0.9, 0.0, None, None),
    "medium": (0.08, 0.5, 0.4, None),
    "strong": (0.08, 0.5, None, "rand-m15-n2"),
}


def training(
    architecture: Architecture, augment: str, crop: float, flip: float
) -> Callable[[Image.Image], Tensor]:
    """Random crop, flip and RandAugment by timm, to a uint8 tensor (3, size, size).

    Args:
        augment: 'none', timm's policy string ('rand-m9-n2'), or one of the paper's `STRENGTHS`,
            which set crop and flip too.
        crop: smallest share of the image's area that a crop keeps; with 1 images are resized and
            cropped as at evaluation.
        flip: probability of a horizontal flip.
    """
    from timm.data import auto_augment, create_transform

    usual = (crop, flip, None, None if augment == "none" else augment)
    crop, flip, jitter, policy = STRENGTHS.get(augment, usual)
    size = architecture.image_size
    resize, _ = evaluation(architecture)
    random_steps: Callable[[Image.Image], Tensor] = create_transform(
        (3, size, size),
        is_training=True,
        scale=(crop, 1.0),
        hflip=flip,
        color_jitter=jitter,
        auto_augment=policy,
        interpolation=architecture.interpolation,
        mean=architecture.mean,
        use_prefetcher=True,  # ends in a uint8 tensor; normalisation is done a batch at a time
    )
    steps: Any = random_steps
    for operation in [op for step in steps.transforms for op in getattr(step, "ops", ())]:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    if crop < 1:
        return random_steps
    return Compose([resize, *steps.transforms[1:]])  # all but the random crop, which comes first


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Keep the `bits` highest bits of each channel, as timm does, but at least one.

    timm asks for no bit at magnitudes below 2.5, and for none or fewer at high ones with `inc1`.
    Pillow 12 made a black image of that, which its documentation (1 to 8 bits) did not define;
    Pillow 13 raises an error.
    """
    from timm.data import auto_augment

    return auto_augment.posterize(image, max(1, bits))


def seeds(count: int, *parts: int) -> NDArray[np.uint32]:
    """Seeds as a function of integers; a larger count only appends to them."""
    return np.random.SeedSequence(parts).generate_state(count).astype(np.uint32)


def seed_all(seed: int) -> None:
    """Seed the generators that timm and torchvision draw from, and those of GPUs in use.

    `torch.manual_seed` is not used: it looks for every kind of device at each call, which takes
    0.4 ms, longer than an augmentation.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def normalise(pixels: Tensor, architecture: Architecture) -> Tensor:
    """uint8 (batch, 3, height, width) -> float32, normalised by the model's mean and deviation.

    The memory format is channels last, in which convolutions are faster: 1.4 times the images a
    second in the demo's training on a CPU.
    """
    scaled = pixels.to(torch.float32, memory_format=torch.channels_last)
    rows = scaled.permute(0, 2, 3, 1).flatten(2)  # a view: (batch, height, width * 3)
    # One mean for each number of a row: vectorised, in half the time of three to a pixel.
    mean = torch.tensor(architecture.mean, device=pixels.device).mul_(255).repeat(pixels.shape[3])
    std = torch.tensor(architecture.std, device=pixels.device).mul_(255).repeat(pixels.shape[3])
    rows.sub_(mean).div_(std)
    return scaled
