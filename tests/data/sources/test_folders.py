"""Which images there are, and which of them can be used."""

import hashlib
import os
import random
from pathlib import Path
from typing import Literal

import pytest

from soup.data.sources.folders import DataError, Found, Problem, check, fingerprint, scan
from tests.worlds import COLOURS, draw, picture


def test_images_are_sorted_by_path_and_named_by_their_class_folder(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"b": 2, "a": 1})
    draw(tmp_path / "train" / "a" / "deeper", {"still": 1})
    found, misplaced = scan(tmp_path, "train")
    assert found == [
        Found("train/a/000.png", "a"),
        Found("train/a/deeper/still/000.png", "a"),
        Found("train/b/000.png", "b"),
        Found("train/b/001.png", "b"),
    ]
    assert misplaced == []


def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 5))
    (tmp_path / "train" / "b.png").touch()
    (tmp_path / "train" / "a.png").touch()
    expected = scan(tmp_path, "train")
    plain = list(os.walk(tmp_path / "train"))
    for seed in range(3):
        shuffled = [
            (here, folders, random.Random(seed).sample(f, len(f))) for here, folders, f in plain
        ]
        random.Random(seed).shuffle(shuffled)
        monkeypatch.setattr(os, "walk", lambda *_, order=shuffled, **__: iter(order))
        assert scan(tmp_path, "train") == expected


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 1, ".cache": 1})
    for name in ("notes.txt", ".hidden.png", "weights.npy"):
        (tmp_path / "train" / "a" / name).write_bytes(b"")
    picture((1, 2, 3), 0, (4, 4)).save(tmp_path / "train" / "a" / "LOUD.JPEG")
    found, _ = scan(tmp_path, "train")
    assert [f.path for f in found] == ["train/a/000.png", "train/a/LOUD.JPEG"]


def test_an_image_outside_a_class_folder_is_misplaced(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 1})
    picture((1, 2, 3), 0, (4, 4)).save(tmp_path / "train" / "stray.png")
    found, misplaced = scan(tmp_path, "train")
    assert len(found) == 1
    assert misplaced == [Problem("train/stray.png", "misplaced: not inside a class folder")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not a folder; it must hold one folder"):
        scan(tmp_path, "nowhere")


def test_a_folder_without_images_is_answered_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"no images in .*train: expected .*/<class>/<image>.*\.png"
    ):
        scan(tmp_path, "train")


def test_a_decode_check_names_the_content_and_a_header_check_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture((1, 2, 3), 0, (8, 8)).save(path)
    data = path.read_bytes()
    assert fingerprint(path, "decode") == hashlib.sha256(data).hexdigest()[:16]
    assert fingerprint(path, "header") == f"{len(data)}-bytes"


WRITTEN = ["png", "jpg", "webp", "bmp", "gif", "tif", "ppm", "avif", "jp2", "tga", "qoi", "sgi"]


@pytest.mark.parametrize("how", ["decode", "header"])
@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_check_finds_what_was_cut_off(
    tmp_path: Path, suffix: str, share: float, how: Literal["decode", "header"]
) -> None:
    path = tmp_path / f"a.{suffix}"
    picture((1, 2, 3), 0, (40, 40)).save(path)
    fingerprint(path, how)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match=r"unreadable|not an image"):
        fingerprint(path, how)


def test_bytes_after_the_end_of_an_image_do_not_make_it_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture((1, 2, 3), 0, (40, 40)).save(path)
    with path.open("ab") as file:
        file.write(b"of a camera")
    assert fingerprint(path, "header") == f"{path.stat().st_size}-bytes"


def test_a_header_check_passes_what_only_decoding_finds(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture((1, 2, 3), 0, (40, 40)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:1000] + data[-12:])  # its end is that of a whole one
    assert fingerprint(path, "header").endswith("-bytes")
    with pytest.raises(ValueError, match="unreadable"):
        fingerprint(path, "decode")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, of broken TIFF tags
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("how", ["decode", "header"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_whatever_the_bytes_a_fingerprint_or_a_reason_comes_back(
    tmp_path: Path, kind: str, how: Literal["decode", "header"]
) -> None:
    rng, path = random.Random(0), tmp_path / f"a.{kind}"
    picture((1, 2, 3), 0, (12, 12)).save(path)
    whole = path.read_bytes()
    for _ in range(40):
        broken = bytearray(whole[: rng.randrange(len(whole))] or b"\0")
        broken[rng.randrange(min(len(broken), 100))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
        try:
            outcome = fingerprint(path, how)
        except ValueError as error:
            outcome = str(error)
        told = outcome.startswith(("unreadable: ", "not an image", "too large: "))
        assert told or (len(outcome) == 16 if how == "decode" else outcome.endswith("-bytes"))


def test_usable_images_keep_their_order_and_the_others_get_reasons(tmp_path: Path) -> None:
    draw(tmp_path, {"a": 6}, size=(40, 40))
    (tmp_path / "a" / "002.png").write_bytes(b"this is text")
    cut = tmp_path / "a" / "004.png"
    cut.write_bytes(cut.read_bytes()[:600])
    (tmp_path / "a" / "005.png").unlink()
    looked: list[int] = []
    images = [Found(f"a/{n:03d}.png", "a") for n in range(6)]
    good, bad = check(tmp_path, images, "decode", lambda: looked.append(1))
    assert [image.path for image, _, _ in good] == ["a/000.png", "a/001.png", "a/003.png"]
    assert [p.path for p in bad] == ["a/002.png", "a/004.png", "a/005.png"]
    assert bad[0].reason == "not an image"
    assert "truncated" in bad[1].reason
    assert "No such file" in bad[2].reason
    assert len(looked) == 6
