"""Which devices a fine-tune gets."""

import os
from typing import Any

import pytest
import torch

from soup.params import Compute
from soup.train.devices import NoDevices, groups


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def has(gpus: int, cores: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)

    return has


@pytest.mark.parametrize(
    ("compute", "runs", "gpus", "expected", "threads"),
    [
        ({}, 8, 0, [("cpu",)] * 4, 1),
        ({}, 2, 0, [("cpu",)] * 2, 2),
        ({"slots": 1}, 8, 0, [("cpu",)], 4),
        ({"devices_per_run": 2}, 8, 0, [("cpu", "cpu")] * 2, 1),
        ({"devices_per_run": 2, "slots": 1}, 8, 0, [("cpu", "cpu")], 2),
        ({}, 8, 3, [("cuda:0",), ("cuda:1",), ("cuda:2",)], 1),
        ({"slots": 3}, 8, 2, [("cuda:0",), ("cuda:1",), ("cuda:0",)], 1),
        ({"devices_per_run": 2}, 8, 4, [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")], 1),
        ({"devices_per_run": 2, "device": "cpu"}, 1, 4, [("cpu", "cpu")], 2),
    ],
)
def test_devices_are_shared_out_in_groups(
    machine: Any,
    compute: dict[str, Any],
    runs: int,
    gpus: int,
    expected: list[tuple[str, ...]],
    threads: int,
) -> None:
    machine(gpus, 4)
    found = groups(Compute(**compute), runs)
    assert [*found.groups] == expected
    assert found.threads == threads
    assert not found.note


def test_gpus_that_make_no_group_are_named(machine: Any) -> None:
    machine(5, 16)
    found = groups(Compute(devices_per_run=2), runs=9)
    assert [*found.groups] == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    assert found.note == "2 fine-tunes at once on 2 GPUs each; cuda:4 left idle"
    assert found.threads == 4


@pytest.mark.parametrize(
    ("compute", "gpus", "message"),
    [
        ({"devices_per_run": 4}, 2, r"devices_per_run is 4, but this machine has 2 GPUs; lower it"),
        ({"devices_per_run": 5}, 0, r"devices_per_run is 5, but this machine has 4 CPU cores"),
        ({"device": "cuda"}, 0, "torch sees no GPU; set it to auto or cpu"),
        ({"sharding": "full"}, 2, "spreads a model over several devices; set compute.devices_per"),
    ],
)
def test_what_the_machine_does_not_have_is_refused(
    machine: Any, compute: dict[str, Any], gpus: int, message: str
) -> None:
    machine(gpus, 4)
    with pytest.raises(NoDevices, match=message):
        groups(Compute(**compute), runs=3)
