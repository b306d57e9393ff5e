"""The split: the same bytes everywhere, and every problem of the images reported at once."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from soup.config.data import Data, HeldOut, Shift
from soup.data.sources.folders import DataError
from soup.data.split.manifest import Manifest, Row
from soup.data.split.prepare import Prepared, counts, prepare
from tests.worlds import COLOURS, draw, picture, world


def held(prepared: Prepared) -> set[str]:
    return {row.path for row in prepared.development if row.split == "heldout"}


def failure(data: Data, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare(data, root)
    return str(caught.value)


def test_both_manifests_are_sorted_and_complete(tmp_path: Path) -> None:
    draw(tmp_path / "sketch", {"red": 3}, first=700)
    prepared = prepare(world(tmp_path, shifts={"sketch": Shift(folder="sketch")}), tmp_path)
    for rows in (prepared.development, prepared.evaluation):
        assert [r.path for r in rows] == sorted(r.path for r in rows)
    assert counts(prepared) == {"train": 27, "heldout": 9, "test": 12, "sketch": 3}
    assert {r.split for r in prepared.development} == {"train", "heldout"}
    assert {r.split for r in prepared.evaluation} == {"test", "sketch"}
    assert prepared.development.classes == ("blue", "green", "red")
    assert prepared.problems == ()


def test_the_split_of_given_paths_is_the_one_it_always_was(tmp_path: Path) -> None:
    """From `printf blue/003.png | sha256sum`; another hash would move images silently."""
    prepared = prepare(world(tmp_path, train=4), tmp_path)
    assert held(prepared) == {"train/blue/003.png", "train/green/001.png", "train/red/001.png"}


def test_moving_the_images_changes_nothing_but_where_they_are(tmp_path: Path) -> None:
    first = prepare(world(tmp_path / "here"), tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "again")
    (tmp_path / "there" / "again" / "train").rename(tmp_path / "there" / "again" / "pictures")
    root = tmp_path / "there" / "again"
    second = prepare(Data(root=".", train="pictures", heldout=HeldOut(fraction=0.25)), root)
    assert {p.replace("pictures/", "train/") for p in held(second)} == held(first)
    assert second.evaluation == first.evaluation


def test_a_train_folder_elsewhere_is_split_alike(tmp_path: Path) -> None:
    inside = prepare(world(tmp_path / "a"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    elsewhere = Data(root="b", train=str(tmp_path / "a/train"), test=str(tmp_path / "a/test"))
    elsewhere = elsewhere.model_copy(update={"heldout": HeldOut(fraction=0.25)})
    assert held(prepare(elsewhere, tmp_path / "b")) == {f"../a/{p}" for p in held(inside)}


def test_more_images_of_one_class_leave_the_other_classes_alone(tmp_path: Path) -> None:
    data = world(tmp_path)
    before = prepare(data, tmp_path)
    draw(tmp_path / "train", {"blue": 8}, first=200)
    after = prepare(data, tmp_path)
    others = [r for r in before.development if r.label != "blue"]
    assert [r for r in after.development if r.label != "blue"] == others
    assert sum("/blue/" in path for path in held(after)) == 5


def test_with_a_number_a_class_a_newcomer_displaces_at_most_one(tmp_path: Path) -> None:
    data = world(tmp_path, train=12, heldout=HeldOut(per_class=4))
    before = held(prepare(data, tmp_path))
    for number in range(300, 306):
        draw(tmp_path / "train", {"blue": 1}, first=number)
        after = held(prepare(data, tmp_path))
        assert len(before - after) <= 1
        assert Counter(p.split("/")[1] for p in after) == dict.fromkeys(COLOURS, 4)
        before = after


def test_held_out_images_are_spread_over_the_listing(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 60, "b": 60}, size=(2, 2))
    draw(tmp_path / "test", {"a": 1, "b": 1}, size=(2, 2), first=500)
    prepared = prepare(Data(root=".", heldout=HeldOut(fraction=0.5)), tmp_path)
    for label in "ab":
        numbers = sorted(int(Path(p).stem) for p in held(prepared) if f"/{label}/" in p)
        assert len(numbers) == 30
        assert 18 < sum(numbers) / 30 < 42
    assert numbers not in (list(range(30)), list(range(30, 60)), list(range(0, 60, 2)))


@pytest.mark.parametrize(
    ("heldout", "expected"),
    [
        (HeldOut(fraction=0.25), {"big": 5, "small": 1}),
        (HeldOut(fraction=0.01), {"big": 1, "small": 1}),
        (HeldOut(per_class=2), {"big": 2, "small": 2}),
    ],
)
def test_the_share_or_number_of_each_class_is_held_out(
    tmp_path: Path, heldout: HeldOut, expected: dict[str, int]
) -> None:
    draw(tmp_path / "train", {"big": 20, "small": 3}, size=(4, 4))
    draw(tmp_path / "test", {"big": 1}, size=(4, 4), first=500)
    prepared = prepare(Data(root=".", heldout=heldout), tmp_path)
    assert Counter(p.split("/")[1] for p in held(prepared)) == expected


def test_classes_with_too_few_images_are_named_with_their_number(tmp_path: Path) -> None:
    data = world(tmp_path, train=5, heldout=HeldOut(per_class=5))
    draw(tmp_path / "train", {"red": 4}, first=100)
    message = failure(data, tmp_path)
    assert "too few images to hold out 5 a class and still train: blue (5), green (5);" in message
    assert "red" not in message
    single = Data(root=".", heldout=HeldOut(fraction=0.1))
    for name in list(COLOURS)[1:]:
        for path in sorted((tmp_path / "train" / name).iterdir())[1:]:
            path.unlink()
    assert "a share of 0.1 and still train: green (1), red (1);" in failure(single, tmp_path)


def spoil(root: Path) -> None:
    """One misplaced image, one that is text, one cut short, one empty."""
    picture((1, 2, 3), 0, (4, 4)).save(root / "test" / "stray.png")
    (root / "train/blue/003.png").write_text("not an image at all")
    cut = root / "train/red/005.png"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (root / "test/red/501.png").write_bytes(b"")


def test_unusable_images_are_left_out_and_named(tmp_path: Path) -> None:
    data = world(tmp_path)
    spoil(tmp_path)
    prepared = prepare(data, tmp_path)
    bad = {p.path: p.reason for p in prepared.problems}
    assert list(bad) == [
        "test/stray.png",
        "train/blue/003.png",
        "train/red/005.png",
        "test/red/501.png",
    ]
    assert bad["test/stray.png"].startswith("misplaced")
    assert bad["train/blue/003.png"] == bad["test/red/501.png"] == "not an image"
    assert "truncated" in bad["train/red/005.png"]
    used = {r.path for r in (*prepared.development, *prepared.evaluation)}
    assert not used & set(bad)
    assert len(used) == 48 - 3


def test_with_strict_unusable_images_are_an_error_that_lists_them_all(tmp_path: Path) -> None:
    data = world(tmp_path, strict=True)
    spoil(tmp_path)
    message = failure(data, tmp_path)
    assert message.startswith("4 images cannot be used (data.strict is true):")
    for name in ("test/stray.png", "blue/003.png", "red/005.png", "red/501.png"):
        assert name in message


def test_a_class_that_train_lacks_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = world(tmp_path, shifts={"r": Shift(folder="r")})
    draw(tmp_path / "r", {"red": 1, "violet": 1, "umber": 1})
    draw(tmp_path / "test", {"teal": 1})
    message = failure(data, tmp_path)
    assert message.splitlines() == [
        "test has classes that train does not have: teal",
        "shift r: classes that train does not have: umber, violet",
    ]


def test_one_class_alone_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"red": 12})
    draw(tmp_path / "test", {"red": 4}, first=500)
    data = Data(root=str(tmp_path), heldout=HeldOut(fraction=0.25))
    assert failure(data, tmp_path) == "train has one class alone (red): nothing to classify"


def test_composed_and_decomposed_class_names_are_one_class(tmp_path: Path) -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    data = world(tmp_path, shifts={"sketch": Shift(folder="sketch", classes="map.yaml")})
    draw(tmp_path / "train" / "x", {"red": 12})
    (tmp_path / "train" / "x" / "red").rename(tmp_path / "train" / decomposed)
    (tmp_path / "train" / "x").rmdir()
    for folder, name, first in (("test", composed, 500), ("sketch", decomposed, 900)):
        draw(tmp_path / folder / "x", {"red": 4}, first=first)
        (tmp_path / folder / "x" / "red").rename(tmp_path / folder / name)
        (tmp_path / folder / "x").rmdir()
    (tmp_path / "map.yaml").write_text(f"{composed}: {decomposed}\n", encoding="utf-8")
    prepared = prepare(data, tmp_path)
    assert prepared.development.classes == ("blue", composed, "green", "red")
    assert sum(row.label == composed for row in prepared.evaluation) == 8


def test_several_missing_folders_are_reported_at_once(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 3})
    (tmp_path / "empty").mkdir()
    shifts = {"v2": Shift(folder="v2"), "a": Shift(folder="empty")}
    lines = failure(Data(root=".", shifts=shifts), tmp_path).splitlines()
    assert len(lines) == 3
    assert "test is not a folder" in lines[0]
    assert "v2 is not a folder" in lines[1]
    assert "no images in" in lines[2]
    assert "empty" in lines[2]


def test_a_class_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    data = world(tmp_path)
    for path in [*(tmp_path / "train/red").iterdir(), *(tmp_path / "test").rglob("*.png")]:
        path.write_bytes(b"zzz")
    message = failure(data, tmp_path)
    assert "classes of which no train image can be used: red\n" in message
    assert "test: no image can be used" in message
    assert "train/red/000.png: not an image" in message


def test_shift_folders_may_be_named_by_position(tmp_path: Path) -> None:
    data = world(tmp_path, shifts={"v2": Shift(folder="v2", layout="index")})
    draw(tmp_path / "v2", {"0": 1, "2": 2, "001": 1})
    rows = [r for r in prepare(data, tmp_path).evaluation if r.split == "v2"]
    assert [(r.path, r.label) for r in rows] == [
        ("v2/0/000.png", "blue"),
        ("v2/001/000.png", "green"),
        ("v2/2/000.png", "red"),
        ("v2/2/001.png", "red"),
    ]


def test_a_position_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = world(tmp_path, shifts={"v2": Shift(folder="v2", layout="index")})
    draw(tmp_path / "v2", {"0": 1, "3": 1, "red": 1, "-1": 1})
    message = failure(data, tmp_path)
    assert message == "shift v2: folders that are no class index below 3: -1, 3, red"


def test_a_manifest_comes_back_from_csv_and_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = (
        Row("train/a/1.png", "a", "train", "0123456789abcdef"),
        Row('train/od"d, name/é 2.png', 'od"d, name', "heldout", "812-bytes"),
    )
    text = Manifest(rows).to_csv()
    path = tmp_path / "development.csv"
    path.write_bytes(text.encode())
    assert Manifest.load(path).rows == rows
    assert Manifest.load(path).to_csv() == text
    assert text.startswith("path,class,split,content\ntrain/a/1.png,a,train,0123456789abcdef\n")
    assert "\r" not in text


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "path,class,split,content\n1,2\n"])
def test_what_is_no_manifest_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "development.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"development.csv is not a split manifest: .*run prepare"):
        Manifest.load(path)


def test_a_header_check_gives_sizes_and_a_decode_check_digests(tmp_path: Path) -> None:
    world(tmp_path, train=3)
    by_header = prepare(Data(root=".", check="header"), tmp_path)
    by_decode = prepare(Data(root=".", check="decode"), tmp_path)
    for header, decode in zip(by_header.development, by_decode.development, strict=True):
        assert header.content == f"{(tmp_path / header.path).stat().st_size}-bytes"
        assert len(decode.content) == 16
        assert (header.path, header.split) == (decode.path, decode.split)


def test_progress_advances_once_an_image(tmp_path: Path) -> None:
    seen: list[int] = []
    prepare(world(tmp_path, train=3, test=2), tmp_path, lambda: seen.append(1))
    assert len(seen) == 15
