"""A soup of adapters is the mean of their models; the mean of their factors is far from it."""

import importlib
from pathlib import Path

import pytest
from transformers import BertModel

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_soups_of_adapters_are_the_mean_and_means_of_factors_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("adapters")
    BertModel(benchmark.TINY).save_pretrained(tmp_path / "base")
    found = benchmark.measure(tmp_path / "base", tmp_path)
    assert found["soup, merged"] < 1e-7  # half a unit of the last place
    assert found["soup, adapter of rank 16"] < 2e-7
    assert found["mean of A and of B"] > 0.1 * found["largest change"]
    assert 0 < found["left out by rank 8"] < 1
