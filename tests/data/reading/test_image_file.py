"""The one place where images are opened: files, members and rows alike, and never a changed one."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ContainerIO import ContainerIO

from soup.data.errors import DataError
from soup.data.loading.images import from_files
from soup.data.reading.image_file import fingerprint, image, member, read, size, size_in_bytes
from soup.data.split.manifest import Row
from tests.data.shifts.layouts import encoded, packed, tar


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture(params=["file", "member", "member of a member"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of the image `encoded(3)`."""
    data, archive = encoded(3), tmp_path / "t.tar"
    if request.param == "file":
        return put(tmp_path / "a" / "x.png", data)
    if request.param == "member":
        tar(archive, [("y.png", encoded(4)), ("a/x.png", data)])
    else:
        tar(archive, [("a.tar", packed([("x.png", data)]))])
    return Path(f"{archive}::a/x.png")


def test_bytes_size_pixels_and_fingerprint_are_those_of_the_encoded_image(path: Path) -> None:
    data = encoded(3)
    assert read(path) == data
    assert size_in_bytes(path) == len(data)
    assert size(path) == (9, 7)
    assert fingerprint(path, "header") == f"{len(data)}-bytes"
    expected = np.asarray(Image.open(io.BytesIO(data)))
    for how in ("decode", "header"):
        np.testing.assert_array_equal(image(path, fingerprint(path, how)), expected)


def test_two_colons_in_a_folder_s_name_lead_into_no_archive(tmp_path: Path) -> None:
    path = put(tmp_path / "odd::name" / "b::c.png", encoded(1))
    assert member(path) is None
    assert read(path) == encoded(1)
    archive = tar(tmp_path / "odd::name" / "t.tar", [("a::b.png", encoded(2))])
    assert member(Path(f"{archive}::a::b.png")) == (archive, "a::b.png")
    assert read(Path(f"{archive}::a::b.png")) == encoded(2)


def test_a_header_check_of_a_member_reads_a_small_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(1, (400, 400), "bmp")
    archive = tar(tmp_path / "t.tar", [("x.bmp", data)])
    asked: list[int] = []
    plain = ContainerIO.read
    path = Path(f"{archive}::x.bmp")
    fingerprint(path, "header")
    monkeypatch.setattr(ContainerIO, "read", lambda f, n: (asked.append(n), plain(f, n))[1])
    assert fingerprint(path, "header") == f"{len(data)}-bytes"
    assert 0 < sum(asked) < len(data) / 4


def next_descriptor() -> int:
    free = os.dup(1)
    os.close(free)
    return free


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    path = Path(f"{tar(tmp_path / 't.tar', [('x.png', encoded(1))])}::x.png")
    image(path)
    before = next_descriptor()
    for _ in range(20):
        image(path)
        size(path)
        fingerprint(path, "header")
    assert next_descriptor() == before


@pytest.mark.parametrize("how", ["decode", "header"])
def test_an_image_that_changed_since_the_split_is_an_error_that_names_it(
    tmp_path: Path, how: str
) -> None:
    path = put(tmp_path / "x.png", encoded(1))
    content = fingerprint(path, how)
    put(path, encoded(2, (8, 8)))
    with pytest.raises(DataError) as caught:
        image(path, content)
    assert str(caught.value) == f"{path} has changed since the split was made; run prepare again"


def test_a_change_of_one_bit_under_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = put(tmp_path / "x.bmp", encoded(1, kind="bmp"))
    stat, content = path.stat(), fingerprint(path, "decode")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    put(path, bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="has changed since the split was made"):
        image(path, content)


def test_a_member_that_changed_is_seen_after_the_archive_was_made_again(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("x.png", encoded(1))])
    path = Path(f"{archive}::x.png")
    content = fingerprint(path, "decode")
    tar(archive, [("new.png", encoded(9)), ("x.png", encoded(1))])
    os.utime(archive, ns=(1, 1))
    image(path, content)  # it moved, and is the same
    tar(archive, [("x.png", encoded(2))])
    os.utime(archive, ns=(2, 2))
    with pytest.raises(DataError, match=r"t\.tar::x\.png has changed since"):
        image(path, content)
    tar(archive, [("y.png", encoded(2))])
    os.utime(archive, ns=(3, 3))
    with pytest.raises(DataError, match=r"t\.tar::x\.png: unreadable: No such file in the archive"):
        image(path, content)


def test_training_reads_file_by_file_and_notices_a_changed_one(tmp_path: Path) -> None:
    names = ["a/0.png", "a/1.png"]
    rows = [
        Row(n, "a", "train", fingerprint(put(tmp_path / n, encoded(i)), "decode"))
        for i, n in enumerate(names)
    ]
    images = pickle.loads(pickle.dumps(from_files(rows, tmp_path, ["a"])))  # as a worker has it
    assert images[0].size == images[1].size == (9, 7)
    put(tmp_path / names[1], encoded(5))
    assert images[0].size == (9, 7)
    with pytest.raises(DataError, match=r"a/1\.png has changed since the split was made"):
        images[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"this is text", "not an image"),
        (encoded(1, (60, 60), "jpeg")[:900], "truncated"),
        (encoded(1, (60, 60))[:900], "truncated"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_the_reason(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = put(tmp_path / "x.png", data)
    with pytest.raises(ValueError, match=reason):
        fingerprint(path, "decode")
    with pytest.raises(DataError, match=rf"x\.png: unreadable: .*{reason}|x\.png: .*{reason}"):
        image(path, f"{len(data)}-bytes")
    with pytest.raises(DataError, match="it was whole when the split was made; run prepare again"):
        image(path, "0123456789abcdef")


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: unreadable: .*No such file.*prepare again"):
        image(tmp_path / "gone.png")


@pytest.mark.parametrize("how", ["decode", "header"])
def test_a_mode_without_agreed_colour_is_found_when_the_split_is_made(
    tmp_path: Path, how: str
) -> None:
    Image.new("F", (2, 2)).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="mode F have no agreed 8-bit RGB"):
        fingerprint(tmp_path / "x.tiff", how)
