"""What `make services` refuses before it starts anything."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import checkouts
from tests.buckets import bucket
from tests.services.started import Services, free_ports, listens, missing, own, reachable

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    shutil.copytree(checkouts.REPO / "infra", tmp_path / "infra")
    folder = Path(tempfile.mkdtemp(prefix="modelsoup-services-"))
    made = Services(tmp_path, reachable(folder), free_ports())
    yield made
    made.script("down")
    shutil.rmtree(folder)


def test_every_port_in_use_is_named_with_the_process_that_has_it(services: Services) -> None:
    holders = {}
    for name in ("MLFLOW_PORT", "PREFECT_PORT"):
        code = (
            "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1])));"
            "s.listen(); print('up', flush=True); sys.stdin.read()"
        )
        holders[name] = subprocess.Popen(
            [sys.executable, "-c", code, services.ports[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    try:
        for holder in holders.values():
            assert holder.stdout is not None
            holder.stdout.readline()
        ran = services.script("up")
    finally:
        for holder in holders.values():
            holder.kill()
            holder.communicate()
    assert ran.returncode == 2
    for name, holder in holders.items():
        port = services.ports[name]
        service = name.removesuffix("_PORT").lower()
        assert f"port {port}, which is to be {service}'s, is in use" in ran.stderr
        assert f"(pid {holder.pid})" in ran.stderr
        assert f"choose another: {name}={int(port) + 1} make services" in ran.stderr
    assert sys.executable in ran.stderr
    assert not listens(services.ports["POSTGRES_PORT"])
    assert not services.processes()


def test_data_of_another_postgresql_are_not_touched(services: Services) -> None:
    data = services.folder / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    ran = services.script("up")
    assert ran.returncode == 2
    assert "was made by PostgreSQL 9, but" in ran.stderr
    assert "pg_upgrade" in ran.stderr
    assert [file.name for file in data.iterdir()] == ["PG_VERSION"]


def test_an_s3_that_does_not_answer_is_named_with_the_reason(services: Services) -> None:
    ran = services.script("up", S3_ENDPOINT="http://127.0.0.1:9")
    assert ran.returncode == 2
    assert "bucket mlflow at http://127.0.0.1:9 cannot be read" in ran.stderr
    assert "Connection refused" in ran.stderr
    assert not (services.folder / "postgres").exists()


def test_a_bucket_that_does_not_exist_is_told_before_anything_starts(services: Services) -> None:
    with bucket("mlflow") as reach:
        said = services.script("up", S3_BUCKET="nobodys", **own(reach))
        assert said.returncode == 2
        assert f"there is no bucket nobodys at {reach['endpoint_url']}" in said.stderr
        said = services.script("up", **own(reach | {"aws_secret_access_key": "wrong"}))
        assert said.returncode == 2
        assert "SignatureDoesNotMatch" in said.stderr
        assert not (services.folder / "postgres").exists()


def test_a_service_that_there_is_not_is_answered_with_those_that_there_are(
    services: Services,
) -> None:
    ran = services.script("restart", "redis")
    assert ran.returncode == 2
    assert "no service 'redis'; there are postgres s3 mlflow prefect worker" in ran.stderr
    assert services.script("begin").returncode == 2
