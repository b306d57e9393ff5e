"""Labels of the validation images: the forms that are about, and when they do not fit."""

import tarfile
from pathlib import Path

import pytest
from scipy.io import loadmat, savemat

from soup import limits
from soup.data.errors import DataError
from soup.data.sources.labels import labelled
from tests.data.shifts.layouts import WNIDS, as_csv, devkit

# By file name: 1, 2, 3; listed in another order, as a file system may.
PATHS = [f"val/ILSVRC2012_val_0000000{n}.JPEG" for n in (3, 1, 2)]
# ILSVRC2012 numbers its classes in an order of its own.
IDS = {1: WNIDS[2], 2: WNIDS[0], 3: WNIDS[1]}
TRUTH = [2, 1, 3]
EXPECTED = [WNIDS[1], WNIDS[0], WNIDS[2]]  # of images 3, 1, 2


def refused(file: Path, paths: list[str] = PATHS) -> str:
    with pytest.raises(DataError) as caught:
        labelled(paths, file)
    return str(caught.value)


@pytest.mark.parametrize("form", ["file", "folder", "tar.gz"])
def test_the_devkit_s_numbers_go_through_its_own_table(tmp_path: Path, form: str) -> None:
    file = devkit(tmp_path / "ILSVRC2012_devkit_t12", TRUTH, IDS)
    if form == "folder":
        file = tmp_path / "ILSVRC2012_devkit_t12"
    if form == "tar.gz":
        packed = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
        with tarfile.open(packed, "w:gz") as made:
            made.add(tmp_path / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
        file = packed
    assert labelled(PATHS, file) == EXPECTED


def test_a_number_that_is_no_class_of_the_table_is_named(tmp_path: Path) -> None:
    file = devkit(tmp_path, [2, 4, 0], IDS)  # 4 is a synset above others
    assert refused(file) == f"{file}: labels that are no class of meta.mat: 0, 4"


def test_a_devkit_without_its_table_says_what_is_expected(tmp_path: Path) -> None:
    file = devkit(tmp_path, TRUTH, IDS)
    (file.parent / "meta.mat").write_bytes(b"no table")
    assert "is not the development kit of ILSVRC2012" in refused(file)
    (file.parent / "meta.mat").unlink()
    message = refused(file)
    assert "is not the development kit of ILSVRC2012" in message
    assert "with meta.mat beside it" in message
    (tmp_path / "x.tar.gz").write_bytes(b"junk")
    assert "is not the development kit of ILSVRC2012" in refused(tmp_path / "x.tar.gz")


def test_one_label_a_line_goes_by_the_order_of_the_names(tmp_path: Path) -> None:
    file = tmp_path / "synset_labels.txt"
    file.write_text("one\ntwo\nthree\n")
    assert labelled(PATHS, file) == ["three", "one", "two"]
    assert "has 3 labels for 2 images" in refused(file, PATHS[:2])


@pytest.mark.parametrize("suffix", [".JPEG", ""])
def test_lines_with_names_go_by_name(tmp_path: Path, suffix: str) -> None:
    rows = [(f"ILSVRC2012_val_0000000{n}{suffix}", str(n * 10)) for n in (1, 2, 3)]
    file = tmp_path / "val.txt"
    file.write_text("\n".join(" ".join(row) for row in rows))
    assert labelled(PATHS, file) == ["30", "10", "20"]
    assert labelled(PATHS, as_csv(tmp_path / "val.csv", rows)) == ["30", "10", "20"]


def test_labels_that_do_not_fit_the_images_are_told_in_both_directions(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "val.csv", [("ILSVRC2012_val_00000001", "a"), ("other", "b")])
    assert refused(file).splitlines() == [
        f"{file} does not fit the images:",
        "  without a label: val/ILSVRC2012_val_00000002.JPEG, val/ILSVRC2012_val_00000003.JPEG",
        "  labelled, but no such image: other",
    ]


@pytest.mark.parametrize(
    ("paths", "rows"),
    [
        (["val/a.0001.jpg", "val/a.0002.jpg"], ["a.0001.jpg", "a.0002.jpg"]),
        (["val/a.0001.jpg", "val/a.0002.jpg"], ["a.0001", "a.0002"]),
        (["val/a.0001.jpg", "val/a.0002.jpg"], ["old/a.0001.png", "a.0002"]),
        (["val/a/1.jpg", "val/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["val/a/1.jpg", "val/b/1.jpg"], ["./val/a/1", "/data/val/b/1.jpg"]),
        (["v.tar::a/1.jpg", "w.tar::a/1.jpg"], ["v.tar/a/1.jpg", "w.tar::a/1"]),
        (["val/1.jpg", "val/a/1.jpg"], ["1.jpg", "a/1.jpg"]),
        (["val/1.jpg", "val/1.png"], ["1.jpg", "1.png"]),
    ],
)
def test_a_row_is_of_the_image_that_its_path_ends(
    tmp_path: Path, paths: list[str], rows: list[str]
) -> None:
    file = as_csv(tmp_path / "val.csv", list(zip(rows, ("cat", "dog"), strict=True)))
    assert labelled(paths, file) == ["cat", "dog"]
    assert labelled(paths[::-1], file) == ["dog", "cat"]


def test_images_that_the_names_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "val.csv", [("a/1.jpg", "cat"), ("b/1.jpg", "dog")])
    expected = "val/1.jpg is a/1.jpg as cat and b/1.jpg as dog"
    assert refused(file, ["val/1.jpg"]).endswith(f"folders and suffixes too): {expected}")
    as_csv(file, [("1", "cat")])
    expected = "1 stands for val/1.jpg, val/1.png"
    assert refused(file, ["val/1.jpg", "val/1.png"]).endswith(
        f"folders and suffixes too): {expected}"
    )
    as_csv(file, [("c/1.jpg", "cat"), ("b/1.jpg", "dog")])
    expected = "c/1.jpg stands for val/a/1.jpg, val/b/1.jpg"
    assert refused(file, ["val/a/1.jpg", "val/b/1.jpg"]).endswith(
        f"folders and suffixes too): {expected}"
    )
    as_csv(file, [("a/1.jpg", "cat"), ("b/1.jpg", "cat")])
    assert labelled(["val/1.jpg"], file) == ["cat"]


def test_labels_without_names_are_refused_where_images_share_a_name(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("one\ntwo\n")
    assert "share a name: val/a/1.jpg and val/b/1.jpg" in refused(
        file, ["val/a/1.jpg", "val/b/1.jpg"]
    )


def test_a_file_of_labels_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    message = refused(tmp_path / "kit")
    assert "kit, with the labels, does not exist" in message
    assert "ILSVRC2012_validation_ground_truth.txt" in message


def test_a_devkit_that_unpacks_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devkit(tmp_path / "kit", TRUTH, IDS)
    for mode, name in (("w:gz", "kit.tar.gz"), ("w", "plain.tar.gz")):
        with tarfile.open(tmp_path / name, mode) as made:
            made.add(tmp_path / "kit", "kit")
        assert labelled(PATHS, tmp_path / name) == EXPECTED
    unpacked = (tmp_path / "plain.tar.gz").stat().st_size
    monkeypatch.setattr(limits, "DEVKIT_BYTES", unpacked - 1)
    for name in ("kit.tar.gz", "plain.tar.gz"):
        message = refused(tmp_path / name)
        assert f"unpacks to more than {unpacked - 1:,} bytes (limit DEVKIT_BYTES" in message
    monkeypatch.setattr(limits, "DEVKIT_BYTES", 30)  # the files in a folder
    assert "has more than 30 bytes" in refused(tmp_path / "kit")


def test_a_table_that_unpacks_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = devkit(tmp_path, TRUTH, IDS)
    table = loadmat(file.parent / "meta.mat", squeeze_me=False)["synsets"]
    savemat(file.parent / "meta.mat", {"synsets": table}, do_compression=True)
    assert labelled(PATHS, file) == EXPECTED
    packed = (file.parent / "meta.mat").stat().st_size
    monkeypatch.setattr(limits, "DEVKIT_BYTES", packed)
    assert f"meta.mat unpacks to more than {packed:,} bytes (limit DEVKIT" in refused(file)


def test_bzip2_and_xz_are_no_form_of_the_devkit(tmp_path: Path) -> None:
    devkit(tmp_path / "kit", TRUTH, IDS)
    with tarfile.open(tmp_path / "kit.tar.gz", "w:xz") as made:
        made.add(tmp_path / "kit", "kit")
    assert "is not the development kit" in refused(tmp_path / "kit.tar.gz")
