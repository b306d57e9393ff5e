"""A run goes on from its file exactly as if it had not been interrupted."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from timm.optim import get_optimizer_info, list_optimizers
from torch import nn

from soup.train.loop import Log, fit
from soup.train.optimizer import StepConfig, make_optimizer, require
from soup.train.run_state import RunStateFile
from soup.train.weight_averages import Averages
from soup.weights.checkpoint import Checkpoint
from tests.train.test_loop import ADAMW, PLAN, batches, loss, model

FLAT = replace(PLAN, flat_from=0.3)


class Interrupted(Exception):
    pass


def run(network: nn.Module, path: Path, log: Log, method: StepConfig = ADAMW) -> Averages:
    """A run with every kind of state, kept after each step."""
    averages = Averages(network, ema=[0.9, 0.5], swa=True)
    keeper = RunStateFile(path, 0.0)
    fit(
        network, batches, loss, FLAT, method, averages=averages, log=log, keeper=keeper, log_every=1
    )
    return averages


def interrupted_at(stop: int, path: Path, method: StepConfig = ADAMW) -> None:
    def log(step: int, metrics: dict[str, float]) -> None:
        if step == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(model(), path, log, method)


@pytest.mark.parametrize("stops", [(1,), (5,), (7,), (8,), (10, 18), (2, 3, 4, 21)])
def test_an_interrupted_run_ends_bit_for_bit_like_one_run_through(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    path = tmp_path / "state.safetensors"
    ends_alike(path, stops, ADAMW)


def accepted() -> list[str]:
    """The optimisers of timm that can be made here: not those of bitsandbytes and apex."""
    names = [name for name in list_optimizers() if not name.startswith(("bnb", "fused"))]
    return [name for name in names if not get_optimizer_info(name).second_order]


@pytest.mark.parametrize("optimizer", accepted())
def test_any_optimiser_of_timm_goes_on_where_it_was(tmp_path: Path, optimizer: str) -> None:
    require(optimizer)
    method = StepConfig(optimizer=optimizer, weight_decay=0.1)
    through, paused, again = (model() for _ in range(3))
    fit(through, batches, loss, FLAT, method)
    keeper = RunStateFile(tmp_path / "state.safetensors", math.inf)
    assert not fit(paused, batches, loss, FLAT, method, until=9, keeper=keeper)
    assert fit(again, batches, loss, FLAT, method, keeper=keeper)
    assert not torch.equal(next(paused.parameters()), next(again.parameters()))
    for name, value in through.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("optimizer", accepted())
def test_all_that_an_optimiser_keeps_comes_back(tmp_path: Path, optimizer: str) -> None:
    network = model()
    had, found = (
        make_optimizer(network, StepConfig(optimizer=optimizer), FLAT.lr) for _ in range(2)
    )
    for images, labels in batches(0, 4):
        had.zero_grad()
        loss(network, images, labels).backward()
        had.step()
    keeper = RunStateFile(tmp_path / "state.safetensors", 0.0)
    keeper.keep(3, network, had, Averages(network))
    assert keeper.restore(network, found, Averages(network), 3) == 3
    require_alike(found.state_dict(), had.state_dict())


def require_alike(found: Any, had: Any) -> None:
    assert type(found) is type(had)
    if isinstance(had, torch.Tensor):
        assert found.dtype == had.dtype
        assert torch.equal(found, had)
    elif isinstance(had, dict):
        assert found.keys() == had.keys()
        for key, value in had.items():
            require_alike(found[key], value)
    elif isinstance(had, list | tuple):
        for one, other in zip(found, had, strict=True):
            require_alike(one, other)
    else:
        assert found == had


def ends_alike(path: Path, stops: tuple[int, ...], method: StepConfig) -> None:
    through, again = model(), model()
    expected = run(through, path.with_name("through"), lambda *_: None, method)
    for stop in stops:
        interrupted_at(stop, path, method)
    logged: list[int] = []
    found = run(again, path, lambda step, _: logged.append(step), method)
    assert logged == list(range(stops[-1], FLAT.steps + 1))
    pairs = [(through, again), *((m, found.models[n]) for n, m in expected.models.items())]
    assert len(pairs) == 4
    for one, other in pairs:
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


def trained(network: nn.Module) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.randn(5, 3, 4, 4)).sum().backward()
    optimizer.step()
    return optimizer


def normed(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_model_buffers_and_moments_come_back(tmp_path: Path) -> None:
    network, other = normed(0), normed(1)
    optimizer = trained(network)
    keeper = RunStateFile(tmp_path / "state.safetensors", 0.0)
    keeper.keep(12, network, optimizer, Averages(network))
    into = torch.optim.AdamW(other.parameters(), lr=0.5)
    assert keeper.restore(other, into, Averages(other), 99) == 12
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert int(other.state_dict()["1.num_batches_tracked"]) == 1
    kept, found = optimizer.state_dict()["state"], into.state_dict()["state"]
    assert found.keys() == kept.keys()
    for index, parts in kept.items():
        assert found[index].keys() == parts.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for part, value in parts.items():
            assert torch.equal(found[index][part], value)
    assert into.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_step_of_a_channels_last_model_is_the_same_after_a_restore(tmp_path: Path) -> None:
    """Fused optimisers read weights and moments in one order of memory; files keep another."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    through, again = network(), network()
    steps = [make_optimizer(one, ADAMW, 0.1) for one in (through, again)]
    through(torch.randn(5, 3, 4, 4)).square().mean().backward()
    steps[0].step()
    keeper = RunStateFile(tmp_path / "state.safetensors", 0.0)
    keeper.keep(1, through, steps[0], Averages(through))
    assert keeper.restore(again, steps[1], Averages(again), 99) == 1
    images = torch.randn(5, 3, 4, 4)
    for one, step in zip((through, again), steps, strict=True):
        step.zero_grad()
        one(images).square().mean().backward()
        step.step()
    assert torch.equal(again.weight, through.weight)


def test_nothing_kept_means_starting_at_the_beginning(tmp_path: Path) -> None:
    network = normed(0)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    path = tmp_path / "state.safetensors"
    optimizer = torch.optim.AdamW(network.parameters())
    assert RunStateFile(path, 0.0).restore(network, optimizer, Averages(network), 99) == 0
    RunStateFile(path, 0.0).keep(3, normed(1), trained(normed(1)), Averages(normed(1)))
    path.write_bytes(path.read_bytes()[:-40])
    assert RunStateFile(path, 0.0).restore(network, optimizer, Averages(network), 99) == 0
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_it_writes_only_when_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("soup.train.run_state.time", SimpleNamespace(monotonic=lambda: now[0]))
    keeper = RunStateFile(tmp_path / "state.safetensors", 30.0, _last=0.0)
    network = normed(0)
    optimizer = trained(network)
    kept = []
    for step, moment in enumerate([10, 29, 31, 40, 60, 62]):
        now[0] = float(moment)
        keeper.keep(step, network, optimizer, Averages(network))
        exists = keeper.path.exists()
        kept.append(int(Checkpoint(keeper.path).metadata["step"]) if exists else None)
    assert kept == [None, None, 2, 2, 2, 5]


def test_it_writes_every_so_many_steps_too_and_when_it_must(tmp_path: Path) -> None:
    keeper = RunStateFile(tmp_path / "state.safetensors", 1e9, steps=3)
    network = normed(0)
    optimizer = trained(network)
    kept = []
    for step in range(1, 8):
        keeper.keep(step, network, optimizer, Averages(network), now=step == 7)
        exists = keeper.path.exists()
        kept.append(int(Checkpoint(keeper.path).metadata["step"]) if exists else None)
    assert kept == [None, None, 3, 3, 3, 6, 7]
