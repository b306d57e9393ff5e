"""A place for fine-tunes that is not there is refused before anything starts, with what to do."""

import sys
from typing import Any

import pytest
import torch

from flows.runners import choose
from soup.config.params import parse
from soup.errors import BadInput
from soup.pipeline.sweep.devices import NoDevices
from tests.config.given import given


def test_a_runner_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"is ray, .* pip install '\.\[ray\]' in the checkout"):
        choose.require(parse(given(compute__runner="ray")))


def test_a_pool_without_a_server_says_so() -> None:
    with pytest.raises(BadInput, match=r"compute.runner: pool needs a Prefect server"):
        choose.require(parse(given(compute__runner={"kind": "pool", "pool": "gpu"})))


@pytest.mark.parametrize("runner", ["local", "ray", {"kind": "ray", "workers": 2}])
def test_what_is_started_here_has_what_is_here(
    runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    fits = given(compute={"runner": runner, "devices_per_run": 2})
    choose.require(parse(fits))
    with pytest.raises(NoDevices, match="devices_per_run is 3, but this machine has 2 GPUs"):
        choose.require(parse(fits | {"compute": {"runner": runner, "devices_per_run": 3}}))


def test_a_head_without_gpus_may_steer_workers_that_have_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = parse(
        given(compute={"device": "cuda", "runner": {"kind": "ray", "address": "head:1"}})
    )
    assert choose.threads_here(params) == 1
    with pytest.raises(NoDevices, match="torch sees no GPU"):
        choose.threads_here(parse(given(compute={"device": "cuda"})))


def test_no_ray_cluster_at_the_address() -> None:
    runner = {"kind": "ray", "address": "auto"}
    with pytest.raises(BadInput, match=r"no Ray cluster answers at auto .* ray start --head"):
        choose.require(parse(given(compute__runner=runner)))
