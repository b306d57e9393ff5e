"""Images of extreme shapes are cropped before they are resized: the same pixels, less memory."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from soup.models.transforms import EXTREME, evaluation, training
from tests.worlds import architecture, picture

WIDE, TALL = (500, 17), (17, 500)


def published(made: Any, border: int = 0) -> Any:
    """timm's transform for evaluation, up to the conversion to a tensor."""
    steps = create_transform(
        (3, made.image_size, made.image_size),
        crop_pct=made.crop_pct,
        crop_mode=made.crop_mode,
        interpolation=made.interpolation,
        mean=made.mean,
        crop_border_pixels=border,
        use_prefetcher=True,
    )
    steps.transforms.pop()
    return steps


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes that images are resized to."""
    seen: list[tuple[int, int]] = []
    plain = Image.Image.resize

    def resize(image: Image.Image, size: Any, *args: Any, **options: Any) -> Image.Image:
        seen.append(tuple(size))
        return plain(image, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", resize)
    return seen


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos"])
@pytest.mark.parametrize("border", [0, 2])
@pytest.mark.parametrize("shape", [WIDE, TALL, (400, 41), (57, 900), (301, 33)])
def test_the_pixels_are_those_of_resizing_first(
    mode: str, interpolation: str, border: int, shape: tuple[int, int]
) -> None:
    assert max(shape) > EXTREME * min(shape)
    made = replace(architecture(32), crop_mode=mode, interpolation=interpolation, crop_pct=0.9)
    image = picture((90, 120, 60), 3, shape)
    ours = np.asarray(evaluation(made, border)[0](image)).astype(int)
    theirs = np.asarray(published(made, border)(image)).astype(int)
    assert ours.shape == theirs.shape == (32, 32, 3)
    differ = np.abs(ours - theirs)
    if interpolation == "nearest":  # halfway between two pixels, either is the nearest
        assert (differ == 0).mean() > 0.9
    else:  # Pillow rounds after each of its two passes, and chooses which is the first
        assert differ.max() <= 2
        assert differ.mean() < 0.5


def test_a_usual_shape_has_the_published_pixels_bit_for_bit(sizes: list[Any]) -> None:
    made, image = architecture(32), picture((90, 120, 60), 3, (100 * EXTREME, 100))
    ours = evaluation(made)[0](image)
    assert sizes == [(32 * EXTREME, 32)]
    assert ours.tobytes() == published(made)(image).tobytes()


@pytest.mark.parametrize("shape", [(2000, 20), (20, 2000)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_no_step_makes_a_large_image_of_an_extreme_one(
    sizes: list[tuple[int, int]], mode: str, shape: tuple[int, int]
) -> None:
    made = replace(architecture(256), crop_mode=mode)
    evaluation(made)[0](picture((90, 120, 60), 3, shape))
    ways = [training(made, "rand-m9-n2", crop, 0.5) for crop in (0.08, 0.9, 1.0)]
    image = picture((90, 120, 60), 3, shape)
    for way in (*ways, training(made, "strong", 1.0, 0.0)):
        torch.manual_seed(0)
        assert way(image).shape == (3, 256, 256)
    assert max(width * height for width, height in sizes) <= 2 * 256 * 256


@pytest.mark.parametrize("shape", [(3000, 30), (30, 3000)])
def test_a_side_that_would_vanish_is_one_pixel(shape: tuple[int, int]) -> None:
    """Of 3,000 x 30 pixels, resized to 20 on the longer side, 0.2 of a row would be left."""
    made = replace(architecture(20), crop_mode="border", crop_pct=1.0)
    filled = np.asarray(evaluation(made)[0](Image.new("RGB", shape, (200, 0, 0))))
    fill = [round(255 * value) for value in made.mean]
    red = (filled == (200, 0, 0)).all(axis=2)
    assert red.sum() == 20
    assert filled[~red].tolist() == [fill] * 380
