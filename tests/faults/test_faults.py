"""A few of each fault at random moments; `benchmarks/faults.py` tries hundreds, and more kinds."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import injections as faults
from tests.faults.ground import Ground, ground
from tests.faults.injections import Course, Found
from tests.gates import PATIENT
from tests.servers import MlflowServer, PostgresServer, postgres, postgres_programs, running
from tests.unreliable import EveryThird, s3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc"),
]
UNHARMED = (0, 0)


@pytest.fixture(scope="module")
def course(plain: Ground) -> Course:
    return Course.of(plain)


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


def harm(found: Found) -> tuple[int, int]:
    return found.lost, found.redone


def test_the_flow_is_killed(plain: Ground, course: Course, draws: random.Random) -> None:
    assert harm(faults.flow_killed(plain, course, draws, kills=2)) == UNHARMED


def test_fine_tunes_are_killed(plain: Ground, course: Course, draws: random.Random) -> None:
    found = faults.fine_tunes_killed(plain, course, draws, kills=6)
    assert found.injected >= 1  # the one that is held
    assert harm(found) == UNHARMED


def test_the_flow_is_told_to_stop(plain: Ground, course: Course, draws: random.Random) -> None:
    assert harm(faults.flow_stopped(plain, course, draws, kills=1)) == UNHARMED


def test_weights_are_damaged_and_exchanged(
    plain: Ground, course: Course, draws: random.Random
) -> None:
    found = faults.damaged(plain, course, draws, flipped=True, swapped=True)
    assert found.injected == 3
    assert harm(found) == UNHARMED


def test_two_pipelines_share_a_store(plain: Ground, course: Course, draws: random.Random) -> None:
    assert harm(faults.two_at_once(plain, course, draws)) == UNHARMED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_the_disk_is_full(plain: Ground, course: Course, draws: random.Random) -> None:
    assert harm(faults.disk_full(plain, course, draws, "disk")) == UNHARMED


def test_prefect_is_killed_and_comes_back(
    plain: Ground, course: Course, draws: random.Random
) -> None:
    assert harm(faults.server_away(plain, course, draws, plain.prefect, 1)) == UNHARMED


@dataclass
class Far:
    """Runs in PostgreSQL, weights in S3, an MLflow server before both."""

    ground: Ground
    course: Course
    mlflow: MlflowServer
    database: PostgresServer
    s3: EveryThird


@pytest.fixture(scope="module")
def far(plain: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """Its undisturbed run was one whose S3 failed every third request."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("far")
    with postgres() as database, s3("artifacts") as (reach, unreliable):
        on = {"database": database.address, "artifacts": "s3://artifacts/"}
        server = MlflowServer(folder / "mlflow", reach, **on)
        with running(server):
            made = plain.of_flows(MLFLOW_TRACKING_URI=server.address)
            yield Far(made, Course.of(made), server, database, unreliable)


def test_s3_fails_every_third_request(far: Far, course: Course) -> None:
    assert far.course.soup == course.soup
    assert far.s3.failed > 10
    far.s3.on = False  # for those that follow


def test_mlflow_is_killed_and_comes_back(far: Far, draws: random.Random) -> None:
    assert harm(faults.server_away(far.ground, far.course, draws, far.mlflow, 1)) == UNHARMED


def test_postgresql_is_killed_and_comes_back(far: Far, draws: random.Random) -> None:
    assert harm(faults.server_away(far.ground, far.course, draws, far.database, 3)) == UNHARMED


def test_the_clock_jumps(
    plain: Ground, tmp_path: Path, course: Course, draws: random.Random
) -> None:
    clock = tmp_path / "clock"
    faked = faults.faked_clock(clock)
    if faked is None:
        pytest.skip("libfaketime is not installed")
    with ground(tmp_path, plain.prefect, **faked, **PATIENT) as odd:
        assert harm(faults.clock_jumped(odd, course, draws, 3, clock)) == UNHARMED
