"""Batches are a function of (seed, epoch, index): not of workers, not of where one begins."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from soup.data.images import Images
from soup.data.transforms import training
from soup.train.batches import augmented, steps_per_epoch
from soup.train.loop import Batch
from tests.worlds import architecture, picture

CPU = torch.device("cpu")


@pytest.fixture
def images() -> Images:
    pixels = np.stack([np.asarray(picture((90, 60, 120), n, (16, 16))) for n in range(23)])
    return Images(pixels, np.arange(23), tuple(Path(f"{n}") for n in range(23)))


def epoch(
    images: Images, number: int = 0, skip: int = 0, seed: int = 7, workers: int = 0
) -> list[Batch]:
    transform = training(architecture(12), "rand-m9-n2", crop=0.5, flip=0.5)
    make = augmented(images, transform, torch.Tensor.float, 5, seed, CPU, workers)
    return list(make(number, skip))


def by_label(found: list[Batch]) -> dict[int, Tensor]:
    return {int(n): i for batch, labels in found for i, n in zip(batch, labels, strict=True)}


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(x, y)
        for a, b in zip(first, second, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def test_any_number_of_workers_gives_the_same_batches(images: Images) -> None:
    torch.rand(3)
    assert same(epoch(images), epoch(images, workers=2))


@pytest.mark.parametrize("skip", [0, 1, 3, 4])
def test_skipping_gives_the_rest_of_the_same_epoch(images: Images, skip: int) -> None:
    whole = epoch(images, number=2)
    assert same(epoch(images, number=2, skip=skip), whole[skip:])


def test_an_epoch_has_every_image_at_most_once_in_full_batches(images: Images) -> None:
    found = epoch(images)
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5]
    labels = torch.cat([labels for _, labels in found]).tolist()
    assert len(set(labels)) == 20
    assert labels != sorted(labels)


def test_epochs_and_seeds_differ_in_order_and_in_augmentation(images: Images) -> None:
    plain = epoch(images)
    for other in (epoch(images, number=1), epoch(images, seed=8)):
        assert not same(plain, other)
        ours, theirs = by_label(plain), by_label(other)
        shared = ours.keys() & theirs.keys()
        assert sum(not torch.equal(ours[n], theirs[n]) for n in shared) > len(shared) / 2


def test_labels_stay_with_their_images() -> None:
    pixels = np.zeros((9, 8, 8, 3), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    images = Images(pixels, np.arange(9) + 100, ())
    transform = training(architecture(8), "none", crop=1.0, flip=0.5)
    for batch, labels in augmented(images, transform, torch.Tensor.float, 3, 0, CPU)(0, 0):
        assert torch.equal(batch.mean(dim=(1, 2, 3)) + 100, labels.float())


@pytest.mark.parametrize(("count", "size", "steps"), [(23, 5, 4), (20, 5, 4), (5, 5, 1), (3, 5, 1)])
def test_a_set_smaller_than_a_batch_makes_one_batch(count: int, size: int, steps: int) -> None:
    assert steps_per_epoch(count, size) == steps
    images = Images(np.zeros((count, 8, 8, 3), np.uint8), np.arange(count), ())
    transform = training(architecture(8), "none", crop=1.0, flip=0.0)
    found = list(augmented(images, transform, torch.Tensor.float, size, 0, CPU)(0, 0))
    assert [len(labels) for _, labels in found] == [min(size, count)] * steps
