"""The examples of the report: texts on one line, bounded; pictures small, without metadata."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from soup.data.split.manifest import Row
from soup.data.text.texts import Text
from soup.evaluation.disagreements import Opinion
from soup.evaluation.targets import among_present
from soup.pipeline.stages import examples as stage
from soup.pipeline.stages.examples import CHARACTERS, SIDE, examples, thumbnail

LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])


def opinions() -> tuple[Opinion, Opinion]:
    """The soup alone is right on four, the single model alone on two."""
    right = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 1], bool), np.array([0] * 4 + [1] * 6, bool)
    soup, single = (
        Opinion(np.where(r, LABELS, 1 - LABELS), r, np.where(r, 0.9, 0.2) - np.arange(10) / 100)
        for r in right
    )
    return soup, single


def project(of_text: bool, rows: list[Row], root: Path) -> Any:
    """What `examples` asks a project for."""
    manifest = SimpleNamespace(split=lambda _name: rows)
    data = SimpleNamespace(text={} if of_text else None)
    return SimpleNamespace(
        params=SimpleNamespace(data=data),
        manifest=lambda _file: manifest,
        evaluation=None,
        images=root,
        limits=None,
    )


def test_three_of_each_kind_with_both_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(f"t.csv::a+b::{n}", ["no", "yes"][n % 2], "test", "") for n in range(10)]
    texts = {row.path: Text(f"text  {row.path[-1]}\n\x1b[2J", "b" * 1000) for row in rows}
    monkeypatch.setattr(stage, "open_texts", lambda _root, some: [texts[r.path] for r in some])
    target = among_present("test", LABELS)
    chosen = examples(project(True, rows, tmp_path), target, *opinions(), ("no", "yes"))
    assert [row["kind"] for row in chosen] == ["mended"] * 3 + ["broken"] * 2
    assert chosen[0] == {
        "kind": "mended",
        "text": "text 0 \\x1b[2J",
        "pair": "b" * (CHARACTERS - 1) + "…",
        "label": "no",
        "soup": "no",
        "single": "yes",
        "soup_probability": 0.9,
        "single_probability": 0.2,
    }
    assert [row["text"][5] for row in chosen] == ["0", "1", "2", "4", "5"]


def test_pictures_are_small_and_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (640, 320), (200, 30, 30)).save(tmp_path / "0.png")
    rows = [Row(f"{n}.png", "no", "test", "") for n in range(10)]
    target = among_present("test", LABELS)
    first, second, *_ = examples(project(False, rows, tmp_path), target, *opinions(), ("no", "yes"))
    data = base64.b64decode(first["image"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (SIDE, SIDE // 2)
    assert "1.png" in second["text"]


def test_a_thumbnail_has_no_metadata_and_is_never_larger() -> None:
    picture = Image.new("RGB", (20, 10))
    picture.getexif()[270] = "who took it"
    data = base64.b64decode(thumbnail(picture).partition(",")[2])
    small = Image.open(io.BytesIO(data))
    assert small.size == (20, 10)
    assert not small.getexif()
