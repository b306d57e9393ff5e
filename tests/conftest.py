"""How all tests are run: what they share, and what none leaves to the next."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.faults.ground import Ground
    from tests.laned import Lanes

# Hypothesis without a clock, and the same examples on every run of CI.
settings.register_profile("soup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("soup")

# A shell starts what runs in the background with Ctrl-C ignored, and all that tests start would
# inherit that: scripts and flows that are told to stop by it would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests take `plain`, which is made once in each process that runs one of them.
PLAIN = (
    "tests/faults/test_faults.py",
    "tests/faults/test_pipeline.py",
    "tests/flows/monitoring/test_watching.py",
)


SLOW = "mark.slow"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Slow tests are in few files: each process that runs them imports only these."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.option.markexpr == "slow" and is_test:
        return SLOW not in collection_path.read_text("utf-8") or None
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """So that the fast run tells of a slow test that the slow run would not find."""
    if item.get_closest_marker("slow") and SLOW not in item.path.read_text("utf-8"):
        raise pytest.UsageError(f"{item.path} has slow tests: it must say '{SLOW}' itself")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile a file is run by one process, and so are the files of `PLAIN`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return PLAIN[0] if file in PLAIN else file

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """What a worker of a sweep sets for its process is not for the tests that follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Ground]":
    """Projects whose flows are forked from a warm process and recorded by one Prefect server.

    Starting a flow costs no imports, and starting no server: for tests that are not about either.
    """
    from tests.faults.ground import ground
    from tests.gates import PATIENT

    with ground(tmp_path_factory.mktemp("ground"), **PATIENT) as made:
        yield made


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Lanes]":
    """Gives this process so many cores."""
    import torch

    def give(count: int) -> None:
        monkeypatch.setattr("soup.models.lanes.cores", lambda: count)
        torch.set_num_threads(count)

    yield give
    torch.set_num_threads(1)
