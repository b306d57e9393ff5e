"""The benchmark of pictures' memory: its pictures are sound, and a broken bound ends it with 1."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from soup.data.reading.decoding import decode
from soup.data.reading.formats import FORMATS


@pytest.fixture
def pictures() -> Any:
    """The benchmark."""
    return importlib.import_module("pictures")


def test_every_picture_is_sound_and_of_the_format_that_its_name_says(
    pictures: Any, tmp_path: Path
) -> None:
    kinds = set()
    for name, (kind, make) in pictures.accepted().items():
        make(tmp_path / "picture", 67, 45)
        size = (45, 67) if "turned" in name else (67, 45)
        assert decode((tmp_path / "picture").read_bytes()).size == size, name
        with Image.open(tmp_path / "picture") as opened:
            assert opened.format == kind, name
        kinds.add(kind)
    assert kinds == set(FORMATS)


@pytest.mark.parametrize("name", ["PNG RGB interlaced", "TIFF RGB tiled", "SUN RGB"])
def test_our_encoders_keep_the_pixels(pictures: Any, tmp_path: Path, name: str) -> None:
    pictures.accepted()[name][1](tmp_path / "picture", 301, 299)
    shown = np.asarray(decode((tmp_path / "picture").read_bytes()))
    np.testing.assert_array_equal(shown, pictures.noise("RGB", 301, 299))


@pytest.mark.parametrize(
    ("peak", "reason", "told"),
    [
        (999, "", ""),
        (1001, "", "QOI: 1001 MB, of at most 1000"),
        (5, "too large: by far", "QOI: too large: by far"),
        (5, "unreadable: cut", "QOI: unreadable: cut"),
        (None, "", "QOI: the process that read it ended"),
    ],
)
def test_a_broken_bound_ends_the_program_with_1(
    pictures: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    peak: float | None,
    reason: str,
    told: str,
) -> None:
    def run(work: Callable[..., object], *arguments: Any) -> Any:
        if work is pictures.made:
            return 1.0
        return None if peak is None else (peak, reason)

    monkeypatch.setattr(pictures, "in_a_fresh_process", run)
    monkeypatch.setattr(sys, "argv", ["pictures.py", "QOI"])
    assert pictures.main() == (1 if told else 0)
    assert told in capsys.readouterr().out


def test_a_refused_picture_must_be_refused_for_its_size(
    pictures: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([1.0, (5, "too large: by far"), 1.0, (5, "unreadable: cut"), 1.0, (5, "")])
    monkeypatch.setattr(pictures, "in_a_fresh_process", lambda *_: next(answers))
    names = ("BMP too wide", "BMP too high", "PNG too wide")
    monkeypatch.setattr(sys, "argv", ["pictures.py", *names])
    assert pictures.main() == 1
    told = capsys.readouterr().out
    assert told.count(": unreadable: cut") == told.count(": accepted") == 1
    assert "by far" not in told
