"""A place for fine-tunes that is not there is refused before anything starts, with what to do."""

import sys
from typing import Any

import pytest
import torch

from flows import runners
from soup.config.params import parse
from soup.errors import BadInput
from soup.pipeline.sweep.devices import NoDevices
from tests.config.test_params import given


@pytest.mark.parametrize(("kind", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_runner_that_is_not_installed_names_its_extra(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput, match=rf"is {kind}, .* pip install 'modelsoup\[{kind}\]'"):
        runners.require(parse(given(compute__runner=kind)))


def test_a_pool_without_a_server_says_so() -> None:
    with pytest.raises(BadInput, match=r"compute.runner: pool needs a Prefect server"):
        runners.require(parse(given(compute__runner={"kind": "pool", "pool": "gpu"})))


@pytest.mark.parametrize("runner", ["local", "dask", {"kind": "ray", "workers": 2}])
def test_what_is_started_here_has_what_is_here(
    runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    fits = given(compute={"runner": runner, "devices_per_run": 2})
    runners.require(parse(fits))
    with pytest.raises(NoDevices, match="devices_per_run is 3, but this machine has 2 GPUs"):
        runners.require(parse(fits | {"compute": {"runner": runner, "devices_per_run": 3}}))


def test_a_head_without_gpus_may_steer_workers_that_have_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = parse(
        given(compute={"device": "cuda", "runner": {"kind": "dask", "address": "tcp://head:1"}})
    )
    assert runners.threads_here(params) == 1
    with pytest.raises(NoDevices, match="torch sees no GPU"):
        runners.threads_here(parse(given(compute={"device": "cuda"})))


def test_no_dask_scheduler_at_the_address() -> None:
    runner = {"kind": "dask", "address": "tcp://127.0.0.1:9"}
    with pytest.raises(BadInput, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        runners.require(parse(given(compute__runner=runner)))


def test_no_ray_cluster_at_the_address() -> None:
    runner = {"kind": "ray", "address": "auto"}
    with pytest.raises(BadInput, match=r"no Ray cluster answers at auto .* ray start --head"):
        runners.require(parse(given(compute__runner=runner)))
