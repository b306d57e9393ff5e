"""Which devices a fine-tune gets."""

import stat
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from soup.config.compute import Compute
from soup.pipeline.sweep import devices
from soup.pipeline.sweep.devices import Capacity, NoDevices, Worker, groups, locked_gpus, room


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def has(gpus: int, cores: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(devices, "cores", lambda: cores)

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


def workers(*sizes: tuple[int, int]) -> list[Worker]:
    """Of (cores, GPUs)."""
    return [Worker(f"host{index}", *size) for index, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("compute", "sizes", "runs", "expected"),
    [
        ({}, [(4, 0), (2, 0)], 72, Capacity(6, "cpu", 1, 1)),
        ({}, [(4, 0), (4, 0)], 2, Capacity(2, "cpu", 4, 4)),
        ({"slots": 4}, [(4, 0), (4, 0)], 72, Capacity(4, "cpu", 2, 2)),
        ({"devices_per_run": 2}, [(5, 0), (1, 0)], 72, Capacity(2, "cpu", 2, 1)),
        ({}, [(64, 8), (8, 1)], 72, Capacity(9, "cuda", 8, 8)),
        # The smaller share of cores: with more, the first host's GPUs could not all be used.
        ({}, [(16, 8), (64, 1)], 72, Capacity(9, "cuda", 2, 2)),
        ({"devices_per_run": 4}, [(64, 8), (64, 2)], 72, Capacity(2, "cuda", 32, 8)),
        ({"device": "cpu"}, [(2, 8)], 72, Capacity(2, "cpu", 1, 1)),
        # Cores for none, as where others hold all: Ray then starts them without.
        ({}, [(0, 2)], 72, Capacity(2, "cuda", 0, 1)),
    ],
)
def test_a_cluster_has_room_for_as_many_as_fit_at_once(
    compute: dict[str, Any], sizes: list[tuple[int, int]], runs: int, expected: Capacity
) -> None:
    assert room(Compute(**compute), workers(*sizes), "the cluster", runs) == expected


@pytest.mark.parametrize(
    ("compute", "sizes", "message"),
    [
        ({}, [], "the cluster has no workers; start one"),
        ({"device": "cuda"}, [(8, 0)], "no worker of the cluster offers a GPU"),
        (
            {"devices_per_run": 4},
            [(8, 1), (8, 2)],
            r"devices_per_run is 4, but no worker of the cluster has so many GPUs: the largest, "
            r"host1, has 2; lower it",
        ),
        ({"devices_per_run": 9}, [(8, 0)], "so many CPU cores: the largest, host0, has 8"),
        ({"sharding": "full"}, [(8, 2)], "set compute.devices_per_run too"),
    ],
)
def test_what_no_worker_has_is_refused(
    compute: dict[str, Any], sizes: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(NoDevices, match=message):
        room(Compute(**compute), workers(*sizes), "the cluster", runs=3)


def test_gpus_of_a_machine_are_claimed_once_by_whoever_asks(
    machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(3, 8)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    waiting: list[tuple[str, ...]] = []
    in_vain, again = threading.Semaphore(0), threading.Semaphore(0)

    def sleep(_: float) -> None:
        in_vain.release()
        again.acquire()

    monkeypatch.setattr("soup.pipeline.sweep.devices.time", SimpleNamespace(sleep=sleep))

    def wait() -> None:
        with locked_gpus(Compute(devices_per_run=2)) as devices:
            waiting.append(devices)

    with locked_gpus(Compute()) as first, locked_gpus(Compute()) as second:
        assert (first, second) == (("cuda:0",), ("cuda:1",))
        # For all users of the machine, none of whom can delete what another holds.
        assert stat.S_IMODE((tmp_path / "modelsoup-gpus").stat().st_mode) == 0o1777
        # A process that sees the last GPU alone knows it by another number.
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
        machine(1, 8)
        with locked_gpus(Compute()) as third:
            assert third == ("cuda:0",)
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
            machine(3, 8)
            thread = threading.Thread(target=wait)
            thread.start()
            in_vain.acquire()
            assert not waiting
        again.release()
        in_vain.acquire()
        assert not waiting
    again.release()
    thread.join()
    assert waiting == [("cuda:0", "cuda:1")]


def test_cores_are_not_claimed(machine: Any) -> None:
    machine(0, 1)
    with locked_gpus(Compute()) as one, locked_gpus(Compute()) as other:
        assert one == other == ("cpu",)
