"""A list and a manifest name no image outside of the folders that the parameters give them."""

import os
from pathlib import Path

import pytest

from soup.config.data import Data, HeldOut, Shift, Source
from soup.data.errors import DataError
from soup.data.reading import archives, hugging_face, image_file
from soup.data.sources.bounds import Bounds, bounds_of, require_inside
from soup.data.sources.listing import listed
from tests.data.shifts.layouts import encoded, tar


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root, beside which there is an image that no list may name."""
    for folder in ("root/in", "out"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.png").write_bytes(encoded(1))
    return tmp_path / "root"


def listing(root: Path, *cells: str, roots: tuple[str, ...] = ()) -> list[str]:
    """The paths that a list with these cells gives."""
    lines = [f'"{cell}",red\n' for cell in cells]
    (root / "list.csv").write_text("path,label\n" + "".join(lines))
    return [found.path for found in listed(Source(path="list.csv"), root, "train", roots).found]


def outside(root: Path) -> list[str]:
    """Cells that lead to the image outside."""
    (root / "link").symlink_to("../out")
    (root / "in/link.png").symlink_to("../../out/x.png")
    (root / "in/chain.png").symlink_to("link.png")
    return [
        str(root.parent / "out/x.png"),
        "../out/x.png",
        "in/../../out/x.png",
        "link/x.png",
        "in/link.png",
        "in/chain.png",
        "link/../out/x.png",
    ]


@pytest.mark.parametrize("which", range(7))
def test_a_list_does_not_lead_out_of_its_folders(
    root: Path, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = outside(root)[which]
    with monkeypatch.context() as patched:
        patched.setattr(image_file, "opened", None)  # nothing is looked at before it is refused
        with pytest.raises(DataError) as caught:
            listing(root, "in/x.png", cell)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{root}/list.csv names 1 of 2 images outside of {root}; to allow it, name their folders "
        "in data.roots:"
    )
    assert lines[1].startswith(f"  line 3: {cell!r}")
    assert ("a link to" in lines[1]) == (which >= 3)


@pytest.mark.parametrize("roots", [("../out",), ("/",)])
@pytest.mark.parametrize("which", range(6))
def test_the_parameters_may_allow_it(root: Path, which: int, roots: tuple[str, ...]) -> None:
    (path,) = listing(root, outside(root)[which], roots=roots)
    assert (root / path).read_bytes() == encoded(1)


def test_a_list_may_name_what_is_in_its_own_folder_by_any_spelling(root: Path) -> None:
    cells = ["in/x.png", f"{root}/in/../in/y.png", "./in//z.png"]
    for name in ("y", "z"):
        (root / f"in/{name}.png").write_bytes(encoded(2))
    assert listing(root, *cells) == ["in/x.png", "in/y.png", "in/z.png"]
    # A list that lies outside of the data root has its own folder too.
    (root.parent / "out/list.csv").write_text("path,label\nx.png,red\n")
    made = listed(Source(path="../out/list.csv"), root, "train")
    assert [found.path for found in made.found] == ["../out/x.png"]


def test_a_folder_whose_name_begins_as_the_root_s_is_outside(root: Path) -> None:
    beside = Path(f"{root}-2")
    beside.mkdir()
    (beside / "x.png").write_bytes(encoded(1))
    with pytest.raises(DataError, match="1 of 1 images outside of"):
        listing(root, "../root-2/x.png")


def test_members_of_archives_stay_inside_too(root: Path) -> None:
    tar(root / "in.tar", [("a/x.png", encoded(3))])
    tar(root.parent / "out/t.tar", [("a/x.png", encoded(3))])
    (root / "link.tar").symlink_to("../out/t.tar")
    assert listing(root, "in.tar::a/x.png") == ["in.tar::a/x.png"]
    for cell in ("../out/t.tar::a/x.png", "link.tar::a/x.png", "in.tar::../../../out/x.png"):
        with pytest.raises(DataError, match="1 of 1 images outside of"):
            listing(root, cell)
    for cell in ("in.tar::../x.png", "in.tar::../../out/x.png"):  # inside by its text, no member
        with pytest.raises(DataError, match="names 1 of 1 images that are not there"):
            listing(root, cell)
    with pytest.raises(DataError, match=r"evil\.tar is refused for what it holds"):
        archives.names(tar(root / "evil.tar", [("../x.png", encoded(1))]))


@pytest.mark.parametrize("cell", ["hfds:a/set@train::0000001", "in/hfds:a/set@train::1"])
def test_a_list_names_no_row_of_a_data_set(
    root: Path, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "reader", None)  # which would fetch it
    with pytest.raises(DataError, match=r"list\.csv names rows of data sets, which only the param"):
        listing(root, "in/x.png", cell)
    with pytest.raises(DataError, match=r"which only the parameters may, as hfds/NAME:\n  line 2"):
        listing(root, cell, roots=("/",))


def test_a_path_that_no_file_can_have_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: 'in/\\x00\.png'"):
        listing(root, "in/x.png", "in/\0.png")
    with pytest.raises(DataError, match="1 of 2 images that are not there"):
        listing(root, "in/x.png", "x" * 5000)


def test_a_list_may_lie_behind_a_link_of_the_parameters(root: Path) -> None:
    """The parameters are trusted: a data root that is a link is the user's own."""
    (root.parent / "alias").symlink_to(root)
    assert listing(root.parent / "alias", "in/x.png") == ["in/x.png"]


def data(**options: object) -> Data:
    return Data(root="root", heldout=HeldOut(fraction=0.1), **options)


def refused(paths: list[str], root: Path, given: Data) -> str:
    try:
        require_inside(paths, root, bounds_of(given, root), Path("m.csv"))
    except DataError as error:
        return str(error)
    return ""


def test_a_manifest_names_images_where_the_parameters_say_they_are(root: Path) -> None:
    (root.parent / "lists").mkdir()
    (root.parent / "lists/a.csv").touch()
    given = data(
        train=Source(path="../lists/a.csv"),
        test=Source(path="hfds/org/set"),
        shifts={"s": Shift(folder=str(root.parent / "shards/*/t-*.tar"))},
        roots=["../more"],
    )
    inside = [
        "in/x.png",
        "../lists/x.png",
        "hfds:org/set@test::0000001",
        "../more/a/x.png",
        "x.png",
    ]
    inside += ["../shards/1/t-0.tar::a/x.png", "in/odd..name/x.png", "t.tar::a/x.png"]
    assert refused(inside, root, given) == ""
    for path in (
        "../out/x.png", "/etc/x.png", "in/../../x.png", "hfds:org/other@test::0000001",
        "in/hfds:x@test::1", "../lists-2/x.png", "..",
    ):  # fmt: skip
        assert refused([*inside, path], root, given) == (
            f"m.csv names 1 images that are not where the parameters say: {path}; "
            "run prepare again, or allow their folder by data.roots"
        )


def test_bounds_follow_each_folder_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = os.path.realpath, []
    monkeypatch.setattr(os.path, "realpath", lambda path: (asked.append(path), plain(path))[1])
    leads_out = Bounds.of(root).leads_out()
    asked.clear()
    assert [leads_out(root, f"in/{name}.png") for name in ("x", "y", "z")] == ["", "", ""]
    assert len(asked) == 1
