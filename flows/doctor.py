"""What is wrong with the machines and servers that a sweep needs, and what to do about it.

python -m flows.doctor            look
python -m flows.doctor --free     and free the slots of limits that nobody holds any more
"""

import argparse
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL
from rich.markup import escape

from flows import runners
from flows.limits import holders
from flows.limits.device_limit import PREFIX
from flows.runners.work_pool import GPUS, online
from flows.server.client import PrefectError, require_server
from flows.stage import DEFAULT, ROOT, console
from soup.errors import BadInput

ROOM = 10.0  # GiB below which a disk is nearly full: a sweep keeps every ingredient's weights


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    text: str
    fine: bool = True


def examine(free: bool) -> Iterator[Finding]:
    """Look at everything in turn.

    Args:
        free: slots that nobody holds.
    """
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
        runners.require(DEFAULT)
    except BadInput as error:
        yield Finding(f"params.yaml: {error}", fine=False)


def _machine() -> Iterator[Finding]:
    import torch

    gpus = torch.cuda.device_count()
    yield Finding(f"this machine: {os.cpu_count()} cores, {gpus} GPUs")
    left = shutil.disk_usage(ROOT).free / 2**30
    yield Finding(f"disk of {ROOT}: {left:,.0f} GiB free", fine=left >= ROOM)


def _mlflow() -> Iterator[Finding]:
    from soup.tracking import default_uri

    uri = default_uri(ROOT)
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
    for pool in client.read_work_pools():
        count = online(client, pool.name)
        known = pool.base_job_template.get("variables", {}).get("properties", {}).get(GPUS, {})
        most = known.get("maximum", known.get("default"))
        jobs = f", {most} GPUs a job at most" if most is not None else ""
        idle = "" if count else f": nothing would start; prefect worker start --pool {pool.name}"
        yield Finding(
            f"work pool {pool.name} ({pool.type}): {count} workers online{jobs}{idle}",
            fine=count > 0,
        )


def main() -> None:
    """The command; exits with 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m flows.doctor", description=__doc__)
    parser.add_argument("--free", action="store_true", help="free slots that nobody holds")
    arguments = parser.parse_args()
    wrong = 0
    for finding in examine(arguments.free):
        wrong += not finding.fine
        mark = "[green]ok[/] " if finding.fine else "[red]!![/] "
        console.print(mark + escape(finding.text), soft_wrap=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
