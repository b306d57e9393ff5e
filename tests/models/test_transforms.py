"""Model input: whole images where nothing is cropped, and arithmetic as it is written down."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment

from soup.data.loading.examples import to_tensor
from soup.models import ModelError
from soup.models.transforms import evaluation, normalise, seed_all, seeds, training
from tests.policies import POLICIES
from tests.worlds import architecture, picture


def test_normalising_is_pixels_over_255_minus_mean_over_std() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    made = architecture()
    mean, std = torch.tensor(made.mean), torch.tensor(made.std)
    expected = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalise(pixels, made), expected)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1), (3, 3, 1, 7), (2, 3, 6, 1)])
@pytest.mark.parametrize("last", [True, False])
def test_normalising_row_by_row_has_the_bits_of_pixel_by_pixel(
    shape: tuple[int, ...], last: bool
) -> None:
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    given = pixels.contiguous(memory_format=torch.channels_last) if last else pixels
    made = replace(architecture(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    mean, std = (torch.tensor(of).mul_(255)[:, None, None] for of in (made.mean, made.std))
    found = normalise(given, made)
    assert torch.equal(found, (pixels.float() - mean) / std)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_channels_come_first_and_nothing_is_copied() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (2, 3, 4, 5)
    assert tensor[1, 2, 3, 4] == pixels[1, 3, 4, 2]
    assert tensor.data_ptr() == pixels.ctypes.data
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = picture((90, 90, 90), 0, (20, 20))
    resize, how = evaluation(architecture(20))
    assert resize(image) is image
    assert how == "resize 20 bicubic, centre crop 20"
    assert resize(picture((9, 9, 9), 0, (33, 25))).size == (20, 20)


def test_a_border_is_cut_off_before_the_image_is_resized() -> None:
    """As the published evaluation of ObjectNet does; in the cache it has another name."""
    inside = picture((40, 90, 160), 0, (36, 26))
    framed = Image.new("RGB", (40, 30), (255, 0, 0))
    framed.paste(inside, (2, 2))
    plain, how = evaluation(architecture(20))
    cut, name = evaluation(architecture(20), 2)
    assert np.array_equal(np.asarray(cut(framed)), np.asarray(plain(inside)))
    assert not np.array_equal(np.asarray(plain(framed)), np.asarray(plain(inside)))
    assert name == f"cut 2 off each side, {how}"
    assert evaluation(architecture(20), 0)[1] == how
    with pytest.raises(ValueError, match="4 x 30 pixels are no more than a border of 2"):
        cut(framed.crop((0, 0, 4, 30)))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 0.875])
def test_evaluation_is_timm_s_own(mode: str, crop_pct: float) -> None:
    made = replace(architecture(18), crop_mode=mode, crop_pct=crop_pct, mean=(0.2, 0.5, 0.7))
    theirs: Any = create_transform(
        (3, 18, 18),
        crop_pct=crop_pct,
        crop_mode=mode,
        interpolation="bicubic",
        mean=made.mean,
        use_prefetcher=True,
    )
    resize, _ = evaluation(made)
    for size in ((33, 25), (18, 18), (14, 40)):
        image = picture((90, 120, 30), 0, size)
        assert np.array_equal(np.moveaxis(np.asarray(resize(image)), -1, 0), theirs(image))


def test_another_crop_mode_has_another_name_in_the_cache_and_an_unknown_one_none() -> None:
    names = {
        evaluation(replace(architecture(), crop_mode=m))[1] for m in ("center", "squash", "border")
    }
    assert len(names) == 3
    with pytest.raises(ModelError, match="unknown crop_mode 'zoom'; known: center, squash, border"):
        evaluation(replace(architecture(), crop_mode="zoom"))


def test_without_crop_flip_and_augmentation_training_sees_the_image_itself() -> None:
    image = picture((90, 90, 90), 0, (20, 20))
    seen = training(architecture(20), "none", crop=1.0, flip=0.0)(image)
    assert seen.dtype == torch.uint8
    np.testing.assert_array_equal(seen.permute(1, 2, 0), np.asarray(image))


MAGNITUDES = (0.0, 0.1, 2.4, 2.5, 5.0, 9.99, 10.0, 17.0, 30.0)


@pytest.mark.parametrize("policy", [*POLICIES, "strong"])
def test_every_operation_of_a_policy_works_at_every_magnitude(policy: str) -> None:
    made: Any = training(architecture(8), policy, crop=0.5, flip=0.5)
    (chosen,) = [step for step in made.transforms if isinstance(step, RandAugment)]
    image = picture((90, 120, 30), 0, (8, 8))
    for operation in chosen.ops:
        for operation.magnitude in MAGNITUDES:
            operation.prob, operation.magnitude_max = 1.0, 30.0  # as far as noise or mmax may reach
            assert operation(image).size == (8, 8)
    for seed in range(20):
        seed_all(seed)
        assert made(image).shape == (3, 8, 8)


@pytest.mark.parametrize("bits", range(-3, 10))
def test_posterize_keeps_the_bits_that_the_policy_means_and_at_least_one(bits: int) -> None:
    made: Any = training(architecture(16), "rand-m5-n2", crop=1.0, flip=0.0)
    operations = {op.name: op for step in made.transforms for op in getattr(step, "ops", ())}
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([values, values[::-1], values.T], axis=-1))
    mask = 256 - 2 ** (8 - min(8, max(1, bits)))  # 1 bit: 128; 8 bits: 255
    posterized = np.asarray(operations["Posterize"].aug_fn(image, bits, fillcolor=(1, 2, 3)))
    np.testing.assert_array_equal(posterized, np.asarray(image) & np.uint8(mask))


@pytest.mark.parametrize("augment", ["none", "rand-m9-n2"])
def test_augmentation_follows_the_seed(augment: str) -> None:
    transform = training(architecture(16), augment, crop=0.3, flip=0.5)
    image = Image.effect_mandelbrot((24, 24), (-2, -1.5, 1, 1.5), 50).convert("RGB")

    def seen(*key: int) -> torch.Tensor:
        seed_all(int(seeds(1, *key)[0]))
        return transform(image)

    assert torch.equal(seen(1, 0, 2, 3), seen(1, 0, 2, 3))
    others = [seen(1, 0, 2, 4), seen(1, 0, 3, 3), seen(2, 0, 2, 3)]
    assert not any(torch.equal(seen(1, 0, 2, 3), other) for other in others)


def test_all_three_generators_are_seeded() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_all(31)
    first = draws()
    seed_all(31)
    assert draws() == first
    seed_all(13)
    assert not set(draws()) & set(first)
