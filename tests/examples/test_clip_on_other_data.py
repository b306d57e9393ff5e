"""The projects of one small CLIP on several data sets: their parameters fit together."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from soup.config.params import parse

FOLDER = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)
    import clip_on_other_data

    yield clip_on_other_data
    for name in ("clip_on_other_data", "tiny_clip"):
        sys.modules.pop(name, None)


def test_each_shape_is_a_project_and_the_unseen_one_asks_for_all_others(
    example: ModuleType, tmp_path: Path
) -> None:
    shapes = [example.UNSEEN, *example.SEEN]
    given = {s: example.parameters(tmp_path, s, ("clip.json", "clip.safetensors")) for s in shapes}
    read = {shape: parse(json.loads(json.dumps(params))) for shape, params in given.items()}
    assert len({params.experiment for params in read.values()}) == 5
    assert read[example.UNSEEN].studies["other-data"].others == [f"{s}.json" for s in example.SEEN]
    for shape, params in read.items():
        assert params.base.head == "zeroshot"
        assert len(params.base.class_names) == 4
        assert all(name.endswith(shape) for name in params.base.class_names)
