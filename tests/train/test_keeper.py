"""A run goes on from its file exactly as if it had not been interrupted."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from soup.checkpoint import Checkpoint
from soup.train.keeper import FileKeeper
from soup.train.loop import fit
from tests.train.test_loop import PLAN, batches, loss, model


class Interrupted(Exception):
    pass


def interrupted_at(stop: int, path: Path) -> None:
    def log(step: int, metrics: dict[str, float]) -> None:
        if step == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(model(), batches, loss, PLAN, log, keeper=FileKeeper(path, 0.0), log_every=1)


@pytest.mark.parametrize("stops", [(1,), (5,), (7,), (8,), (10, 18), (2, 3, 4, 21)])
def test_an_interrupted_run_ends_bit_for_bit_like_one_run_through(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    path = tmp_path / "state.safetensors"
    through, again = model(), model()
    fit(through, batches, loss, PLAN)
    for stop in stops:
        interrupted_at(stop, path)
    logged: list[int] = []
    keeper = FileKeeper(path, 0.0)
    fit(again, batches, loss, PLAN, lambda step, _: logged.append(step), keeper=keeper, log_every=1)
    assert logged == list(range(stops[-1], PLAN.steps + 1))
    for name, value in through.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


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
    keeper = FileKeeper(tmp_path / "state.safetensors", 0.0)
    keeper.keep(12, network, optimizer)
    into = torch.optim.AdamW(other.parameters(), lr=0.5)
    assert keeper.restore(other, into) == 12
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert int(other.state_dict()["1.num_batches_tracked"]) == 1
    kept, found = optimizer.state_dict()["state"], into.state_dict()["state"]
    assert found.keys() == kept.keys()
    for index, parts in kept.items():
        assert found[index].keys() == parts.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for part, value in parts.items():
            assert torch.equal(found[index][part], value)
    assert into.param_groups[0]["lr"] == 0.5  # the loop sets it, step by step


def test_nothing_kept_means_starting_at_the_beginning(tmp_path: Path) -> None:
    network = normed(0)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    path = tmp_path / "state.safetensors"
    optimizer = torch.optim.AdamW(network.parameters())
    assert FileKeeper(path, 0.0).restore(network, optimizer) == 0
    FileKeeper(path, 0.0).keep(3, normed(1), trained(normed(1)))
    path.write_bytes(path.read_bytes()[:-40])
    assert FileKeeper(path, 0.0).restore(network, optimizer) == 0
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_it_writes_only_when_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = FileKeeper(tmp_path / "state.safetensors", 30.0)
    begin = time.monotonic()
    now = [begin]
    monkeypatch.setattr("soup.train.keeper.time.monotonic", lambda: now[0])
    network = normed(0)
    optimizer = trained(network)
    kept = []
    for step, moment in enumerate([10, 29, 31, 40, 60, 62]):
        now[0] = begin + moment
        keeper.keep(step, network, optimizer)
        exists = keeper.path.exists()
        kept.append(int(Checkpoint(keeper.path).metadata["step"]) if exists else None)
    assert kept == [None, None, 2, 2, 2, 5]
