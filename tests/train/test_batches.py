"""Batches are a function of (seed, epoch, index): not of workers, not of where one begins."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from soup.data.errors import DataError
from soup.data.loading.images import Images
from soup.errors import BadInput, Failure
from soup.models.transforms import training
from soup.train.batches import Replaced, augmented, steps_per_epoch, workers_for
from soup.train.loop import Batch
from soup.train.rank import ALONE, Rank
from tests.worlds import architecture, picture

CPU = torch.device("cpu")


def by_itself(batch: torch.Tensor) -> torch.Tensor:
    return batch


@pytest.fixture
def images() -> Images:
    pixels = np.stack([np.asarray(picture((90, 60, 120), n, (16, 16))) for n in range(23)])
    return Images(pixels, np.arange(23), tuple(Path(f"{n}") for n in range(23)))


def batches(
    images: Images, seed: int = 7, workers: int = 0, ranks: Rank = ALONE
) -> Callable[..., Iterator[Batch]]:
    transform = training(architecture(12), "rand-m9-n2", crop=0.5, flip=0.5)
    return augmented(images, transform, torch.Tensor.float, 5, seed, CPU, workers, ranks)


def epoch(
    images: Images, number: int = 0, skip: int = 0, seed: int = 7, ranks: Rank = ALONE
) -> list[Batch]:
    return list(batches(images, seed, ranks=ranks)(number, skip))


def by_label(found: list[Batch]) -> dict[int, Tensor]:
    return {int(n): i for batch, labels in found for i, n in zip(batch, labels, strict=True)}


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(x, y)
        for a, b in zip(first, second, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def test_any_number_of_workers_gives_the_same_batches_in_every_epoch(images: Images) -> None:
    torch.rand(3)
    made = batches(images, workers=2)
    for number, skip in ((0, 0), (1, 2), (2, 0)):
        assert same(epoch(images, number, skip), list(made(number, skip)))


def test_the_same_workers_serve_every_epoch_even_after_one_was_left(images: Images) -> None:
    made = augmented(images, lambda _: torch.tensor([os.getpid()]), by_itself, 5, 7, CPU, 1)
    next(made(0, 0))
    found = [int(n) for number in (1, 2) for batch, _ in made(number, 0) for n in batch]
    assert len(found) == 40
    assert len(set(found)) == 1
    assert found[0] != os.getpid()


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_shares_of_all_ranks_are_the_batches_of_one(images: Images, world: int) -> None:
    ranks = [epoch(images, 1, 1, ranks=Rank(rank, world)) for rank in range(world)]
    joined = [
        (torch.cat([pixels for pixels, _ in shares]), torch.cat([labels for _, labels in shares]))
        for shares in zip(*ranks, strict=True)
    ]
    assert same(joined, epoch(images, 1, 1))
    lengths = [[len(labels) for _, labels in rank] for rank in ranks]
    assert max(map(max, lengths)) - min(map(min, lengths)) <= 1


def test_more_ranks_than_images_in_a_batch_are_an_error(images: Images) -> None:
    with pytest.raises(BadInput, match="a batch of 5 images has none for some of 6 devices"):
        batches(images, ranks=Rank(0, 6))


@pytest.mark.parametrize(
    ("cores", "device", "workers"),
    [(1, "cpu", 0), (2, "cpu", 0), (16, "cpu", 7), (1, "cuda", 1), (16, "cuda", 15)],
)
def test_workers_take_the_cores_that_computing_leaves(
    cores: int, device: str, workers: int
) -> None:
    assert workers_for(cores, torch.device(device)) == workers


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


def test_the_next_image_stands_in_for_one_that_cannot_be_used_and_each_is_told(
    images: Images, tmp_path: Path
) -> None:
    """Two are cut off, one after the other; the augmentation of a third fails, every time."""
    for number in range(23):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number:02d}.png")
    for cut in ("04.png", "05.png"):
        whole = (tmp_path / cut).read_bytes()
        (tmp_path / cut).write_bytes(whole[: len(whole) // 2])
    paths = tuple(tmp_path / f"{number:02d}.png" for number in range(23))

    def transform(image: Image.Image) -> Tensor:
        value = np.asarray(image).flat[0]
        if value == 22:
            raise ValueError("bits must be between 1 and 8")
        return torch.full((1,), int(value))

    for workers in (0, 1):
        told: list[str] = []
        read = Images(None, images.labels, paths)
        made = augmented(
            read, transform, by_itself, 23, 7, CPU, workers=workers, replaced=told.append
        )
        [(seen, labels)] = made(0, 0)
        assert seen[:, 0].tolist() == labels.tolist()
        expected = sorted([*range(4), 6, 6, *range(6, 22), 0])
        assert sorted(labels.tolist()) == expected
        cut_4, cut_5, odd = sorted(told)  # 5 is told of as 5's own draw, which 6 is shown for
        assert cut_4.startswith(f"{paths[4]}: unreadable: ")
        assert cut_5.startswith(f"{paths[5]}: unreadable: ")
        assert odd == f"{paths[22]}: augmenting it failed: ValueError: bits must be between 1 and 8"


def test_an_image_that_changed_is_not_replaced(images: Images, tmp_path: Path) -> None:
    paths = (tmp_path / "missing.png",) * 23
    made = augmented(Images(None, images.labels, paths), torch.tensor, by_itself, 5, 7, CPU)
    with pytest.raises(DataError, match=r"missing\.png: unreadable: .*run prepare again"):
        next(made(0, 0))


def test_an_augmentation_that_fails_for_all_images_is_an_error(images: Images) -> None:
    def fails(_: Image.Image) -> Tensor:
        raise TypeError("no")

    made = augmented(images, fails, by_itself, 5, 7, CPU)
    with pytest.raises(Failure, match=r"50 images in a row .*: \d+: augmenting it failed: TypeE"):
        next(made(0, 0))


def test_what_was_replaced_is_told_once_an_image_and_counted() -> None:
    said: list[str] = []
    replaced = Replaced(said.append)
    replaced.tell_total()
    assert not said
    for problem in ("a.png: cut", "b.png: cut", "a.png: cut"):
        replaced(problem)
    replaced.tell_total()
    assert said == [
        "a.png: cut; the next image stands in for it",
        "b.png: cut; the next image stands in for it",
        "the next image stood in for one that cannot be used: 3 times in all, for 2 reasons",
    ]


@pytest.mark.parametrize(("count", "size", "steps"), [(23, 5, 4), (20, 5, 4), (5, 5, 1), (3, 5, 1)])
def test_a_set_smaller_than_a_batch_makes_one_batch(count: int, size: int, steps: int) -> None:
    assert steps_per_epoch(count, size) == steps
    images = Images(np.zeros((count, 8, 8, 3), np.uint8), np.arange(count), ())
    transform = training(architecture(8), "none", crop=1.0, flip=0.0)
    found = list(augmented(images, transform, torch.Tensor.float, size, 0, CPU)(0, 0))
    assert [len(labels) for _, labels in found] == [min(size, count)] * steps
