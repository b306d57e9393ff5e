"""A limit that sweeps share, on a real server that is killed and started again under them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.__main__ import main
from flows.finetune import fan_out
from flows.limits import device_limit, holders
from flows.runners import work_pool
from flows.runners.runner import Runner
from flows.server import client as server_client
from flows.server.client import PrefectError
from soup.config.compute import Compute, RunnerConfig
from soup.pipeline.sweep.devices import NoDevices
from tests.pipeline.projects import Silent
from tests.servers import LEASES, PrefectServer, recording
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow
GPUS = Compute(limit="gpus", devices_per_run=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with recording(PrefectServer(tmp_path_factory.mktemp("prefect"))) as made:
        with get_client(sync_client=True) as client:
            client.create_concurrency_limit("gpus", 4)
        yield made


@pytest.fixture
def begun(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., "Sweep"]]:
    """Start a sweep; whatever comes, it ends."""
    # A server takes as long as it takes to start again: leases and patience outlast it.
    monkeypatch.setattr(device_limit, "LEASE", 2 * PATIENCE)
    monkeypatch.setattr(server_client, "AWAY", PATIENCE)
    made: list[Sweep] = []

    def begin(compute: Compute, *names: str) -> Sweep:
        made.append(Sweep(compute, [*names]))
        made[-1].start()
        return made[-1]

    yield begin
    for sweep in made:
        sweep.go.set()
    for sweep in made:
        sweep.join(PATIENCE)


def known() -> holders.Limit:
    with get_client(sync_client=True) as client:
        (only,) = [each for each in holders.limits(client) if each.name == "tag:gpus"]
    return only


class Sweep(threading.Thread):
    """Fine-tunes that go on until they are let go."""

    def __init__(self, compute: Compute, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.compute, self.names = compute, names
        self.under_way, self.most = 0, 0
        self.go = threading.Event()
        self.outcomes: dict[str, object] = {}
        self.lock = threading.Lock()
        self.api = PREFECT_API_URL.value()

    def call(self, name: str, until: float) -> str:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.go.wait()
        with self.lock:
            self.under_way -= 1
        return name

    def run(self) -> None:
        with temporary_settings({PREFECT_API_URL: self.api}):
            runner = Runner(len(self.names), self.call)
            self.outcomes = fan_out(self.names, runner, self.compute, Silent())  # type: ignore[arg-type]


def diagnosis(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """What the doctor's command says and exits with."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return int(str(ended.value.code)), " ".join(capsys.readouterr().err.split())


def test_slots_are_held_through_a_restart_and_shown_with_their_holders(
    server: PrefectServer, begun: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = begun(GPUS, "ft-000", "ft-001", "ft-002")
    until(lambda: sweep.under_way == 2, "two fine-tunes under way")
    until(lambda: [h.slots for h in known().holders] == [2, 2], "the server to hear of the tasks")
    before = known()
    assert (before.slots, before.taken, before.stuck) == (4, 4, 0)
    server.kill()
    server.start()
    server.ready()
    after = known()
    assert (after.taken, after.stuck, len(after.holders)) == (4, 0, 2)
    assert "freed" not in diagnosis(capsys, "--free")[1]
    _, said = diagnosis(capsys)
    assert "limit gpus: 4 of 4 slots taken" in said
    assert said.count("2 by ft-00") == 2
    assert "stuck" not in said
    assert sweep.most == 2
    sweep.go.set()
    sweep.join()
    assert sweep.outcomes == {name: name for name in sweep.names}
    assert sweep.most == 2
    until(lambda: known().taken == 0, "the slots to be free")


def test_what_a_forgetful_server_leaves_taken_is_found_and_freed(
    server: PrefectServer, begun: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    server.kill()
    server.environment[LEASES] = "prefect.server.concurrency.lease_storage.memory"
    server.start()
    server.ready()
    sweep = begun(Compute(limit="gpus"), "ft-000")
    until(lambda: sweep.under_way == 1, "a fine-tune under way")
    server.kill()
    server.start()
    server.ready()
    code, said = diagnosis(capsys)
    assert code == 1
    assert "Prefect keeps leases in memory" in said
    assert "limit gpus: 1 of 4 slots taken" in said
    assert "1 held by nobody: stuck" in said
    assert "1 that nobody held: 1 freed" in diagnosis(capsys, "--free")[1]
    assert known().taken == 0
    sweep.go.set()
    sweep.join()
    assert sweep.outcomes == {"ft-000": "ft-000"}  # the fine-tune never noticed


def test_a_limit_that_would_hold_up_for_ever_is_refused(server: PrefectServer) -> None:
    device_limit.require(GPUS)
    with pytest.raises(
        device_limit.LimitError, match="devices_per_run is 5, but limit gpus has 4 slots"
    ):
        device_limit.require(Compute(limit="gpus", devices_per_run=5))
    with pytest.raises(device_limit.LimitError, match="prefect concurrency-limit create tpus 8"):
        device_limit.require(Compute(limit="tpus"))


def test_a_pool_that_would_start_nothing_is_refused(
    server: PrefectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate

    compute = Compute(runner=RunnerConfig(kind="pool", pool="idle"))
    with pytest.raises(work_pool.PoolError, match=r"has no work pool idle .* work-pool create"):
        work_pool.require(compute, 3)
    gpus = {"variables": {"properties": {"gpus": {"type": "integer", "maximum": 2}}}}
    template = {"job_configuration": {"gpus": "{{ gpus }}"}, **gpus}
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="idle", base_job_template=template))
        with pytest.raises(work_pool.PoolError, match="no worker of work pool idle is online"):
            work_pool.require(compute, 3)
        assert "work pool idle" in diagnosis(capsys)[1]
        client.send_worker_heartbeat("idle", "w", heartbeat_interval_seconds=30)
        work_pool.require(compute, 3)
        with pytest.raises(NoDevices, match="a job of work pool idle gets at most 2 GPUs"):
            work_pool.require(compute.model_copy(update={"devices_per_run": 3}), 3)
        client.update_work_pool("idle", WorkPoolUpdate(is_paused=True))
        with pytest.raises(work_pool.PoolError, match="is paused: prefect work-pool resume idle"):
            work_pool.require(compute, 3)
    assert "2 GPUs a job at most" in diagnosis(capsys)[1]


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PrefectError, match=r"127.0.0.1:9/api does not answer .* PREFECT_API_URL"),
    ):
        device_limit.require(GPUS)


def test_without_a_server_there_is_nothing_to_share() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(PrefectError, match=r"compute.limit needs a Prefect server"),
    ):
        device_limit.require(GPUS)
