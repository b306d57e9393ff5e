"""The embedded world is a pure function of (seed, split, index), on disk as in memory."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soup.pipeline.demo.image_folders import write
from soup.pipeline.demo.shapes import (
    CLASSES,
    SHAPES,
    SPLITS,
    TEXTURES,
    render,
    upstream,
)


def nothing(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.zeros(len(labels), bool)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_pictures_are_those_that_the_figures_in_the_readme_are_of() -> None:
    drawn = hashlib.sha256(upstream(0, 200)[0].tobytes())
    for split in SPLITS:
        drawn.update(render(0, split, 0, 40)[0].tobytes())
    assert drawn.hexdigest()[:16] == "b7e59ccbb7e88843"


@pytest.mark.parametrize("split", SPLITS)
def test_an_image_depends_on_its_index_not_on_its_batch(split: str) -> None:
    images, labels = render(7, split, 0, 150)
    for start, count in [(0, 3), (63, 2), (149, 1)]:
        part, its_labels = render(7, split, start, count)
        np.testing.assert_array_equal(part, images[start : start + count])
        np.testing.assert_array_equal(its_labels, labels[start : start + count])


def test_a_longer_upstream_set_starts_with_the_shorter() -> None:
    for long, short in zip(upstream(7, 100), upstream(7, 30), strict=True):
        np.testing.assert_array_equal(long[:30], short)


def test_seeds_and_splits_share_no_image() -> None:
    train = render(7, "train", 0, 20)[0]
    for other in (render(8, "train", 0, 20)[0], render(7, "test", 0, 20)[0]):
        assert not (train == other).all(axis=(1, 2, 3)).any()


def test_neighbouring_images_share_no_noise() -> None:
    images = render(7, "train", 0, 40)[0].astype(float)
    detail = (images - images.mean(axis=(1, 2), keepdims=True)).reshape(40, -1)
    related = np.corrcoef(detail)[~np.eye(40, dtype=bool)]
    assert abs(related.mean()) < 0.03


def test_the_upstream_set_has_the_promised_form_and_every_factor() -> None:
    images, shape, texture, colour = upstream(7, 600)
    assert images.shape == (600, 32, 32, 3)
    assert images.dtype == np.uint8
    assert shape.dtype == texture.dtype == np.int64
    assert set(shape) == set(range(len(SHAPES)))
    assert set(texture) == set(range(len(TEXTURES)))
    assert colour.shape == (600, 3)
    assert 0 <= colour.min() < 0.05
    assert 0.95 < colour.max() <= 1
    pairs = np.bincount(shape * len(TEXTURES) + texture, minlength=54)
    assert pairs.min() > 0


def test_every_prefix_of_a_split_is_balanced() -> None:
    images, labels = render(7, "train", 0, 90)
    assert images.shape == (90, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert counts.max() - counts.min() == 1


def test_classes_are_pairs_of_a_shape_and_a_texture() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 20
    pairs = [name.split("-") for name in CLASSES]
    assert all(shape in SHAPES and texture in TEXTURES for shape, texture in pairs)
    assert CLASSES[1] == "ring-stripes"


def test_styles_differ_in_what_they_should() -> None:
    def greyness_and_brightness(split: str) -> tuple[float, float]:
        images = render(7, split, 0, 200)[0].astype(float)
        return images.mean(axis=(1, 2)).std(axis=1).mean(), images.mean()

    photo, sketch = greyness_and_brightness("train"), greyness_and_brightness("sketch")
    assert sketch[0] < photo[0] / 3
    assert sketch[1] > photo[1] + 50
    flat = [
        np.mean([len(np.unique(image // 8)) for image in render(7, split, 0, 100)[0]])
        for split in ("train", "r")
    ]
    assert flat[1] < flat[0] - 1
    roughness = [
        np.abs(np.diff(render(7, split, 0, 200)[0].astype(float), axis=2)).mean()
        for split in ("train", "v2")
    ]
    assert roughness[1] > 1.1 * roughness[0]


def test_an_unknown_split_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown split 'tset'; the splits are train, test, v2"):
        render(7, "tset", 0, 1)


def test_written_files_hold_the_rendered_images(tmp_path: Path) -> None:
    root = tmp_path / "world"
    write(root, 7, {"train": 45, "sketch": 20}, nothing)
    for split, size in [("train", 45), ("sketch", 20)]:
        images, labels = render(7, split, 0, size)
        assert len(list(root.glob(f"{split}/*/*.png"))) == size
        for i in range(size):
            np.testing.assert_array_equal(
                read(root / split / CLASSES[labels[i]] / f"{i:05d}.png"), images[i]
            )
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_split_a_keeps_what_the_reference_gets_wrong(tmp_path: Path) -> None:
    def dark(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2, 3)) < 110

    write(tmp_path / "world", 7, {"a": 30, "train": 20}, dark)
    kept = sorted((tmp_path / "world" / "a").glob("*/*.png"), key=lambda path: path.stem)
    images, labels = render(7, "a", 0, 1000)
    expected = np.flatnonzero(dark(images, labels))[:30]
    assert [int(path.stem) for path in kept] == expected.tolist()
    assert [path.parent.name for path in kept] == [CLASSES[labels[i]] for i in expected]
    assert len(list((tmp_path / "world" / "train").glob("*/*.png"))) == 20


def test_split_a_gives_up_after_a_bounded_number_of_candidates(tmp_path: Path) -> None:
    write(tmp_path / "world", 7, {"a": 10}, nothing)
    assert not list((tmp_path / "world" / "a").glob("*/*.png"))


def test_a_set_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        raise RuntimeError("no reference")

    root = tmp_path / "world"
    with pytest.raises(RuntimeError, match="no reference"):
        write(root, 7, {"train": 20, "a": 10}, breaks)
    assert not root.exists()
    write(root, 7, {"train": 20}, breaks)
    with pytest.raises(FileExistsError, match="is already there: delete it"):
        write(root, 7, {"train": 20}, breaks)


def test_however_many_threads_draw_the_pictures_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn(threads: int) -> list[np.ndarray]:
        monkeypatch.setattr("soup.pipeline.demo.shapes.cores", lambda: threads)
        return [*upstream(3, 200), *render(3, "r", 70, 150)]

    for one, several in zip(drawn(1), drawn(4), strict=True):
        np.testing.assert_array_equal(one, several)
