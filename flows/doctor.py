"""Say what is wrong with the machines and servers that a sweep needs, and what to do about it.

python -m flows.doctor            look
python -m flows.doctor --free     and free the slots of limits that nobody holds any more
"""

import json
import runpy
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL
from rich.text import Text

from flows.limits import holders
from flows.limits.device_limit import PREFIX
from flows.project import console, default_params, root
from flows.server.client import PrefectError, require_server
from soup.cores import cores
from soup.errors import BadInput

PURPOSE = "Say what is wrong with the machines and servers that a sweep needs, and what to do."
ENOUGH_DISK = 10.0  # GiB; a sweep keeps the weights of every ingredient


@dataclass(frozen=True)
class Finding:
    """A line of what the doctor says.

    Attributes:
        text: the line.
        fine: whether nothing is to be done about it.
    """

    text: str
    fine: bool = True


def examine(free: bool) -> Iterator[Finding]:
    """Look at the machine, MLflow, Prefect, its limits and work pools, and params.yaml.

    Args:
        free: whether to free the slots of limits that nobody holds.
    """
    from flows.runners import choose

    yield from _machine()
    yield from _mlflow()
    if not PREFECT_API_URL.value():
        yield Finding(
            "Prefect: no server is configured (PREFECT_API_URL); runs use one of their own"
        )
    else:
        try:
            require_server("doctor")
        except PrefectError as error:
            yield Finding(str(error), fine=False)
            return
        with get_client(sync_client=True) as client:
            yield from _prefect(client)
            yield from _limits(client, free)
            yield from _pools(client)
    try:
        choose.require(default_params())
    except BadInput as error:
        yield Finding(f"params.yaml: {error}", fine=False)


def _machine() -> Iterator[Finding]:
    import torch

    gpus = torch.cuda.device_count()
    yield Finding(f"this machine: {cores()} cores, {gpus} GPUs")
    left = shutil.disk_usage(root()).free / 2**30
    yield Finding(f"disk of {root()}: {left:,.0f} GiB free", fine=left >= ENOUGH_DISK)


def _mlflow() -> Iterator[Finding]:
    from soup.tracking import default_uri

    uri = default_uri(root())
    if not uri.startswith("http"):
        yield Finding(f"MLflow: {uri.rsplit('@')[-1]}, without a server: for this machine alone")
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=10) as answer:
            theirs = answer.read().decode().strip()
    except (OSError, ValueError) as error:
        yield Finding(f"MLflow at {uri} does not answer: {error}", fine=False)
        return
    yield _versions(f"MLflow at {uri}", theirs, version("mlflow"))


def _versions(what: str, theirs: str, ours: str) -> Finding:
    same = theirs.split(".")[:2] == ours.split(".")[:2]
    differ = "" if same else f", but this environment has {ours}: install the same on both"
    return Finding(f"{what}: version {theirs}{differ}", fine=same)


def _prefect(client: SyncPrefectClient) -> Iterator[Finding]:
    theirs = json.loads(client.request("GET", "/admin/version").text)
    yield _versions(f"Prefect at {PREFECT_API_URL.value()}", theirs, version("prefect"))
    settings = client.request("GET", "/admin/settings").json()
    storage = settings["server"]["concurrency"]["lease_storage"]
    if storage.endswith(".memory"):
        yield Finding(
            "Prefect keeps leases in memory: when it restarts, slots that are held stay taken for "
            "ever; start it with PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="
            f"{storage.removesuffix('.memory')}.filesystem",
            fine=False,
        )


def _limits(client: SyncPrefectClient, free: bool) -> Iterator[Finding]:
    for limit in holders.limits(client):
        name = limit.name.removeprefix(PREFIX)
        yield Finding(f"limit {name}: {limit.taken} of {limit.slots} slots taken")
        for holder in limit.holders:
            yield Finding(f"  {holder.slots} by {holder.who}", fine=holder.alive)
        if not limit.stuck:
            continue
        if free:
            yield Finding(f"  {limit.stuck} that nobody held: {holders.free(client, limit)} freed")
        else:
            yield Finding(
                f"  {limit.stuck} held by nobody: stuck; free them with make doctor FREE=1 "
                "(python -m flows.doctor --free)",
                fine=False,
            )


def _pools(client: SyncPrefectClient) -> Iterator[Finding]:
    from flows.runners.work_pool import GPUS, online

    for pool in client.read_work_pools():
        count = online(client, pool.name)
        variables = pool.base_job_template.get("variables", {}).get("properties", {})
        most = variables.get(GPUS, {}).get("maximum", variables.get(GPUS, {}).get("default"))
        jobs = f", {most} GPUs a job at most" if most is not None else ""
        idle = "" if count else f": nothing would start; prefect worker start --pool {pool.name}"
        yield Finding(
            f"work pool {pool.name} ({pool.type}): {count} workers online{jobs}{idle}",
            fine=count > 0,
        )


def run(free: bool) -> None:
    """Print what `examine` finds; exits with 1 if something is wrong, else with 0."""
    wrong = 0
    for finding in examine(free):
        wrong += not finding.fine
        mark = Text("ok", "green") if finding.fine else Text("!!", "red")
        console().print(mark, finding.text, soft_wrap=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    sys.argv.insert(1, "doctor")
    runpy.run_module("flows", run_name="__main__")
