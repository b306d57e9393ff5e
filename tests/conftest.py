"""How all tests are run: what they share, and what none leaves to the next."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.faults.ground import Ground
    from tests.flows.served import Served
    from tests.forked import Forks
    from tests.laned import Lanes
    from tests.services.started import Services

# Hypothesis without a clock, and the same examples on every run of CI.
settings.register_profile("soup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("soup")

# A shell starts what runs in the background with Ctrl-C ignored, and all that tests start would
# inherit that: scripts and flows that are told to stop by it would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests take `plain`, those that take `deployment`, those that share `services`, and
# those that look at `site`. Each is made once in each process that runs one of its files, so that
# all of these are run by one; and ends with the last of them, for servers that nobody asks go on
# computing.
PLAIN = (
    "tests/faults/test_faults.py",
    "tests/faults/test_pipeline.py",
    "tests/flows/monitoring/test_watching.py",
)
DEPLOYED = ("tests/flows/test_deployment.py", "tests/ui/test_doors.py", "tests/ui/test_servers.py")
SERVED = (
    "tests/services/test_logging_clients.py",
    "tests/services/test_refusals.py",
    "tests/infra/test_monitoring.py",
    "tests/services/test_services.py",  # the last, for it kills them and gives them a bucket
)
SITE = ("tests/ui/test_site.py", "tests/docs/test_site.py")
GROUPS = (PLAIN, DEPLOYED, SERVED, SITE)

# Files that take minutes begin first: none is left to run alone at the end.
LONGEST = (
    *DEPLOYED,
    *PLAIN,
    *SERVED,
    "tests/flows/test_pipeline.py",
    "tests/docs/test_tutorial.py",
    "tests/flows/runners/test_runners.py",
    "tests/examples/test_tiny_clip.py",
    "tests/pipeline/stages/test_text_stages.py",
    "tests/pipeline/stages/test_study.py",
    "tests/train/test_distributed.py",
    "tests/test_secrets.py",
    "tests/flows/limits/test_device_limit.py",
    "tests/flows/test_forms.py",
)

SLOW = "mark.slow"
ENDS = pytest.StashKey[list[Callable[[], None]]]()  # of what a group shares


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Slow tests are in few files: each process that runs them imports only these."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.option.markexpr == "slow" and is_test:
        return not _has_slow(collection_path) or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nobody looks for garbage in what tests import: it stays. That takes a fifth of the time.

    What tests make is looked through more seldom than by default, at which it takes another 25th.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()
        # Extensions tell of what is left at the end as of leaks. Not before pytest has collected
        # the garbage of tests, which would look through all that was imported, too.
        atexit.register(gc.unfreeze)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What slow tests have forked begins with all that any of them needs: it is imported once."""
    server = sys.modules.get("soup.train.fork_server")
    if server and session.config.option.markexpr != "not slow":
        texts = ("soup.models.transformers_models", "transformers.modeling_utils")
        server.IMPORTED.extend((*texts, "soup.models.clip_models", "soup.tracking"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """So that the fast run tells of a slow test that the slow run would not find."""
    if item.get_closest_marker("slow") and not _has_slow(item.path):
        raise pytest.UsageError(f"{item.path} has slow tests: it must say '{SLOW}' itself")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of LONGEST first; xdist deals files out in this order."""
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("::")[0], len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile a file is run by one process, and so are files that share servers.

    Where all tests are run, every second process runs the files with slow ones, which wait for
    servers most of their time, and the others begin with the rest. None returns to that: slow
    tests leave threads of Prefect and Ray in their processes.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            if not config.option.markexpr:
                of_slow = int(node.gateway.id.removeprefix("gw")) % 2 == 1
                chosen = _next(self.workqueue, of_slow, config.rootpath)
                if chosen is None:
                    return
                self.workqueue.move_to_end(chosen, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


def _next(groups: Iterable[str], of_slow: bool, root: Path) -> str | None:
    """The group that a process is to run next, if any."""
    slow, rest = [], []
    for group in groups:
        (slow if _has_slow(root / group) else rest).append(group)
    return next(iter(slow if of_slow else rest + slow), None)


@cache
def _has_slow(path: Path) -> bool:
    return SLOW in path.read_text("utf-8")


def _group(nodeid: str) -> str:
    """A name of the files that a test shares servers with, or its file."""
    file = nodeid.partition("::")[0]
    return next((group[0] for group in GROUPS if file in group), file)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a group, end what the group shares."""
    if nextitem is None or _group(nextitem.nodeid) != _group(item.nodeid):
        for end in item.session.stash.get(ENDS, []):
            end()
        item.session.stash[ENDS] = []


def _until_the_group_ends(request: pytest.FixtureRequest) -> None:
    """Have the session's fixture that is being made ended with its group, and not later."""
    made: Any = request
    ends = request.session.stash.setdefault(ENDS, [])
    ends.append(partial(made._fixturedef.finish, request))


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """What a worker of a sweep sets for its process is not for the tests that follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def plain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Ground]":
    """Projects whose flows are forked from a warm process and recorded by one Prefect server.

    Starting a flow costs no imports, and starting no server: for tests that are not about either.
    """
    from tests.faults.ground import ground
    from tests.gates import PATIENT

    _until_the_group_ends(request)
    with ground(tmp_path_factory.mktemp("ground"), **PATIENT) as made:
        yield made


@pytest.fixture(scope="session")
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Served]":
    """A checkout with `make deploy` running in it; see `tests.flows.served.shared`.

    Tests of `tests/flows/test_deployment.py` are one story, which those of other files come after.
    """
    from tests.flows.served import shared

    _until_the_group_ends(request)
    with shared(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture(scope="session")
def services(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Services]":
    """`make services`, started once, as where nothing is set: an S3 only where rclone serves one.

    Tests of `tests/services/test_services.py` stop and kill them, and come after all others.
    """
    from tests.services.started import started

    _until_the_group_ends(request)
    with started(tmp_path_factory.mktemp("services")) as made:
        yield made


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of docs/, built."""
    from tests.docs.built import build

    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def with_torch() -> "Iterator[Forks]":
    """Programs that begin with torch imported, and with nothing of ours."""
    from tests.forked import forks

    with forks("torch") as made:
        yield made


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Lanes]":
    """Gives this process so many cores."""
    import torch

    def give(count: int) -> None:
        monkeypatch.setattr("soup.threads.cores", lambda: count)
        torch.set_num_threads(count)

    yield give
    torch.set_num_threads(1)
