"""Images that cannot be read are named and left out by every verb that reads images."""

import json
from pathlib import Path

import pytest

from soup.cli import heldout_folder
from tests.cli.conftest import Candidates, Command
from tests.worlds import COLOURS, draw, picture

BAD = {"cut.jpg": "unreadable: ", "inner.png": "unreadable: ", "text.png": "not an image"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good images of each class; three bad ones, a .heic and a text file among the red."""
    draw(tmp_path / "held", dict.fromkeys(COLOURS, 2))
    red = tmp_path / "held/red"
    for name in ("cut.jpg", "inner.png"):
        picture(COLOURS["red"], 9, (20, 20)).save(red / name)
    whole = (red / "inner.png").read_bytes()
    (red / "inner.png").write_bytes(whole[:300] + whole[-12:])  # only decoding finds it
    (red / "cut.jpg").write_bytes((red / "cut.jpg").read_bytes()[:500])
    (red / "text.png").write_text("no picture")
    (red / "phone.heic").touch()
    (red / "notes.txt").touch()
    return tmp_path / "held"


def require_all_told(said: str, folder: Path) -> None:
    for name, reason in {**BAD, "phone.heic": ".heic is not read"}.items():
        assert f"left out: {folder}/red/{name}: {reason}" in said
    assert "notes.txt: no image" in said
    assert "run prepare" not in said


@pytest.mark.parametrize("cache_gib", [8.0, 0.0])
def test_compare_judges_on_the_rest(
    folder: Path,
    candidates: Candidates,
    soup: Command,
    cache_gib: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heldout_folder, "DEFAULT_CACHE_GIB", cache_gib)
    said = soup("compare", *candidates.models[:2], "--on", folder)
    assert said.code == 0, said.err
    assert f"{folder}, 6 images" in said.err
    require_all_told(said.err, folder)
    assert said.err.count("cut.jpg") == 1


def test_cook_and_explain_judge_on_the_rest(
    folder: Path, candidates: Candidates, soup: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    said = soup("cook", "--heldout", folder, "-o", out, *candidates.models[:3])
    assert said.code == 0, said.err
    assert "held-out, 6 images" in said.err
    require_all_told(said.err, folder)
    said = soup("explain", "--heldout", folder, *candidates.models[:3])
    assert said.code == 0, said.err
    require_all_told(said.err, folder)


def test_predict_classifies_the_rest(folder: Path, candidates: Candidates, soup: Command) -> None:
    said = soup("predict", candidates.models[0], folder, "--json")
    assert said.code == 0, said.err
    assert len(json.loads(said.out)) == 6
    for name in (*BAD, "phone.heic", "notes.txt"):
        assert f"left out: {folder}/red/{name}: " in said.err
    said = soup("predict", candidates.models[0], *(folder / "red" / name for name in BAD))
    assert said.code == 2
    assert all(f"{name}: not an image that can be read" in said.err for name in BAD)
    said = soup("predict", candidates.models[0], folder / "red/phone.heic")
    assert said.code == 2
    assert "phone.heic: .heic is not read; convert it to .png or .jpg" in said.err


def test_more_than_a_few_are_counted(folder: Path, candidates: Candidates, soup: Command) -> None:
    for number in range(20):
        (folder / "red" / f"{number}.heic").touch()
    said = soup("compare", candidates.models[0], "--on", folder)
    assert said.err.count("left out: ") == 6
    assert "left out: 20 more" in said.err
