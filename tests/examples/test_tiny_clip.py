"""A tiny CLIP through zero-shot head, LP-FT, soup and the WiSE-FT curve, end to end."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tiny_clip.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_clip", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_captions_name_texture_and_shape_and_sometimes_the_colour(example: ModuleType) -> None:
    import numpy as np

    told = example.captions(
        np.array([0, 1]), np.array([1, 0]), np.array([[0.9, 0.1, 0.1], [0, 0, 0.8]], np.float32)
    )
    assert told == ["a photo of a red stripes ring.", "a photo of a solid square."]


@pytest.mark.slow
def test_words_alone_beat_chance_training_beats_words_and_the_curve_joins_both(
    example: ModuleType, tmp_path: Path
) -> None:
    table, curve = example.run(tmp_path)
    chance, images = 1 / 20, 1000
    error = (chance * (1 - chance) / images) ** 0.5
    zero_shot = table.loc["zero-shot"]
    assert zero_shot["test"] > max(2 * chance, chance + 5 * error)
    assert table.loc["probe", "test"] > zero_shot["test"]
    assert table.loc["best single", "test"] > table.loc["probe", "test"]
    assert {"uniform soup", "greedy soup", "ensemble", "ft-000", "ft-002"} <= set(table.index)
    # The curve begins at zero-shot and ends at the soup that was cooked.
    for alpha, model in ((0.0, "zero-shot"), (1.0, "greedy soup")):
        for split in ("test", "v2", "sketch"):
            assert curve.loc[alpha, split] == pytest.approx(table.loc[model, split])
