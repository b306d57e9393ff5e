"""The benchmark of a GPU does the same work on a CPU, at a tenth of the size."""

import importlib
import json
import sys
from typing import Any

import pytest
import torch


@pytest.fixture
def gpu() -> Any:
    return importlib.import_module("gpu")


@pytest.fixture
def lines(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tenth"])
    gpu.main()
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["figure"]: line for line in printed}


def test_every_part_has_a_line(gpu: Any, lines: dict[str, Any]) -> None:
    assert list(lines) == ["machine", *(name for name, *_ in gpu.PARTS)]
    assert not [line for line in lines.values() if "left_out" in line]
    assert lines["evaluate"]["same_errors"]
    for name in ("greedy", "learned", "mehl"):
        assert lines[name]["share_done"] == 1.0
        assert lines[name]["models"] == gpu.TENTH.models
        assert lines[name]["seconds"] > 0
    assert [lines[n]["published_seconds"] for n in ("greedy", "learned", "mehl")] == [
        3501, 7701, 808,
    ]  # fmt: skip
    assert lines["average"]["models"] == gpu.TENTH.average
    assert lines["fine-tune"]["images_per_second"] > 0
    assert all(line["peak_memory_gb"] > 0 for n, line in lines.items() if n != "machine")


def test_a_recipe_that_is_out_of_time_says_how_far_it_came(gpu: Any) -> None:
    bench = gpu.Bench(torch.device("cpu"), gpu.TENTH)
    found = gpu.greedy_soup(bench, until=0.0)
    assert found["share_done"] == 0.0
    counted = gpu.Timed(lambda _: 1, until=float("inf"))
    assert [counted(0), counted(0), counted.calls] == [1, 1, 2]


def test_steps_are_those_of_the_published_loops(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: dict[str, tuple[int, int]] = {}

    def timed(_: Any, work: Any, calls: Any, count: int, __: Any) -> dict[str, Any]:
        work()
        expected[work.__qualname__.split(".")[0]] = (calls.calls, count)
        return {}

    monkeypatch.setattr(gpu, "timed", timed)
    bench = gpu.Bench(torch.device("cpu"), gpu.TENTH)
    for part in (gpu.greedy_soup, gpu.learned_soup, gpu.mehl_soup):
        part(bench, float("inf"))
    assert expected.keys() == {"greedy_soup", "learned_soup", "mehl_soup"}
    assert all(calls == count for calls, count in expected.values())


def test_the_peak_is_that_of_the_card(gpu: Any) -> None:
    assert gpu.peak_of("NVIDIA H200") == 989e12
    assert gpu.peak_of("NVIDIA L4") == 121e12
    assert gpu.peak_of("CPU") is None


def test_the_paper_s_size_is_the_paper_s(gpu: Any) -> None:
    import timm

    name = importlib.import_module("gpu_bench").NAME
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == 88_225_000
    size = gpu.Size()
    assert (size.models, size.heldout, size.epochs, size.together) == (72, 26_000, 5, 18)
