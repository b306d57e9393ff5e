"""The pipeline on PostgreSQL, S3, MLflow, Prefect and a worker, as `make services` starts them."""

import base64
import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import checkouts
from tests.services.questions import (
    ask,
    flow_runs,
    let_in,
    mlflow_user,
    objects,
    query,
    s3,
)
from tests.services.started import Services, checkout, free_ports, listens, missing, reachable
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed"),
]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    root = checkout(tmp_path_factory.mktemp("services"))
    folder = Path(tempfile.mkdtemp(prefix="modelsoup-services-"))
    made = Services(root, reachable(folder), free_ports())
    try:
        ran = made.script("up")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield made
    finally:
        made.script("down")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ran(services: Services) -> Services:
    """The services after the deployed pipeline was triggered once."""
    trigger = ("prefect", "deployment", "run", "pipeline/local", "--watch")
    done = services.run(*trigger, **services.env)
    log = (services.folder / "logs/worker.log").read_text()
    assert done.returncode == 0, done.stdout[-2000:] + log[-3000:]
    # An automation has the new version evaluated; the tests look at what stands still.
    until(
        lambda: flow_runs(services).get("evaluate-version") == "COMPLETED",
        "the evaluation of the new version",
    )
    return services


def test_a_second_start_finds_all_of_them_running_and_starts_nothing(services: Services) -> None:
    before = set(services.processes())
    again = services.script("up")
    assert again.returncode == 0
    assert "all services run already" in again.stdout
    assert "starting" not in again.stdout
    assert before <= set(services.processes())
    status = services.script("status")
    assert status.returncode == 0
    assert status.stdout.split("\n")[:-1] == [
        f"{name} runs" for name in ("postgres", "s3", "mlflow", "prefect", "worker")
    ]


def test_secrets_are_the_owners_alone_and_on_no_command_line(services: Services) -> None:
    for name in ("env", "settings", "mlflow-auth.ini"):
        assert stat.S_IMODE((services.folder / name).stat().st_mode) == 0o600
    passwords = [v for k, v in services.env.items() if re.search("PASSWORD|SECRET", k)]
    passwords.append(services.env["PREFECT_API_AUTH_STRING"].partition(":")[2])
    assert len(set(passwords)) == 4
    assert all(len(password) == 32 for password in passwords)
    for line in services.processes().values():
        assert not any(password in line for password in passwords), line


def test_mlflow_refuses_who_has_no_credentials_or_wrong_ones(services: Services) -> None:
    port = services.ports["MLFLOW_PORT"]
    routes = (
        "/",
        "/version",
        "/metrics",
        "/graphql",
        "/v1/traces",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow/registered-models/search",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/api/2.0/mlflow-artifacts/artifacts/1/x",
        "/get-artifact?run_uuid=x&path=y",
        "/api/2.0/mlflow/users/get?username=modelsoup",
    )
    for route in routes:
        assert ask(port, route)[0] == 401, route
        assert ask(port, route, "modelsoup:password")[0] == 401, route
    assert ask(port, "/api/2.0/mlflow-artifacts/artifacts/1/x", method="PUT")[0] == 401
    assert ask(port, routes[5], mlflow_user(services))[0] == 200


def test_prefect_refuses_who_has_no_credentials_at_every_route_that_it_says_it_has(
    services: Services,
) -> None:
    port = services.ports["PREFECT_PORT"]
    known = services.env["PREFECT_API_AUTH_STRING"]
    status, schema = ask(port, "/api/openapi.json", known)
    assert status == 200
    routes = [
        (path if path.startswith("/api/") else f"/api{path}", method.upper())
        for path, methods in json.loads(schema)["paths"].items()
        for method in methods
    ]
    assert len(routes) > 150
    for path, method in routes:
        if path in ("/api/health", "/api/ready"):
            continue
        route = path.replace("{", "").replace("}", "")
        assert ask(port, route, method=method)[0] == 401, (method, path)
    assert ask(port, "/api/metrics")[0] == 401
    assert ask(port, "/api/admin/version", "modelsoup:wrong")[0] == 401
    assert ask(port, "/api/admin/version", known)[0] == 200


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_prefect_tells_nothing_to_a_socket_without_credentials(
    services: Services, path: str
) -> None:
    known = services.env["PREFECT_API_AUTH_STRING"]
    assert [let_in(services, path, token) for token in ("", "wrong", known)] == [False, False, True]


def test_s3_refuses_who_has_no_credentials_or_wrong_ones(services: Services) -> None:
    from botocore.exceptions import ClientError

    own = s3(services)
    own.put_object(Bucket="mlflow", Key="probe", Body=b"weights")
    assert own.get_object(Bucket="mlflow", Key="probe")["Body"].read() == b"weights"
    for other in (s3(services, signed=False), s3(services, secret="wrong")):
        for act in (
            lambda c: c.list_buckets(),
            lambda c: c.list_objects_v2(Bucket="mlflow"),
            lambda c: c.get_object(Bucket="mlflow", Key="probe"),
            lambda c: c.put_object(Bucket="mlflow", Key="probe", Body=b"x"),
            lambda c: c.delete_object(Bucket="mlflow", Key="probe"),
        ):
            with pytest.raises(ClientError) as refused:
                act(other)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    assert own.get_object(Bucket="mlflow", Key="probe")["Body"].read() == b"weights"
    own.delete_object(Bucket="mlflow", Key="probe")
    assert "mlflow" in [bucket["Name"] for bucket in own.list_buckets()["Buckets"]]


def test_postgresql_refuses_a_wrong_password_and_has_no_way_in_without(services: Services) -> None:
    import psycopg

    for password in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            query(services, "mlflow", "select 1", PGPASSWORD=password)
    rules = query(services, "mlflow", "select distinct auth_method from pg_hba_file_rules")
    assert rules == [("scram-sha-256",)]
    assert query(services, "mlflow", "show unix_socket_directories") == [("",)]
    assert query(services, "mlflow", "show listen_addresses") == [("127.0.0.1",)]


def test_a_forged_host_is_refused_even_with_credentials(services: Services) -> None:
    evil = "evil.example"
    mlflow, prefect = services.ports["MLFLOW_PORT"], services.ports["PREFECT_PORT"]
    user, known = mlflow_user(services), services.env["PREFECT_API_AUTH_STRING"]
    for path in ("/", "/api/2.0/mlflow/experiments/search?max_results=1", "/metrics"):
        assert ask(mlflow, path, user, host=evil)[0] == 403
        assert ask(mlflow, path, user, host=f"{evil}:{mlflow}")[0] == 403
    for path in ("/", "/api/health", "/api/admin/version", "/ui-settings"):
        assert ask(prefect, path, known, host=evil)[0] == 400
    # S3's signature is over the host, so that nothing signed for one server holds for another.
    signed = s3(services).generate_presigned_url("list_objects_v2", Params={"Bucket": "mlflow"})
    path = signed.split(services.ports["S3_PORT"], 1)[1]
    assert ask(services.ports["S3_PORT"], path)[0] == 200
    assert ask(services.ports["S3_PORT"], path, host=evil)[0] == 403


def test_servers_listen_on_loopback_alone(services: Services) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for address in addresses - {"127.0.0.1", "127.0.1.1", "::1"}:
        for port in services.ports.values():
            with socket.socket(socket.AF_INET6 if ":" in str(address) else socket.AF_INET) as probe:
                assert probe.connect_ex((str(address), int(port))) != 0, (address, port)


def test_a_triggered_run_ends_as_a_champion_with_runs_in_postgresql_and_weights_in_s3(
    ran: Services,
) -> None:
    runs = dict(query(ran, "mlflow", "select name, status from runs"))
    assert {"ft-000", "ft-001", "ft-002"} <= set(runs)
    assert set(runs.values()) == {"FINISHED"}
    (champion,) = query(
        ran,
        "mlflow",
        "select version from registered_model_aliases where alias = 'champion'",
    )
    assert int(champion[0]) == 1
    assert flow_runs(ran)["pipeline"] == "COMPLETED"
    stored = objects(ran)
    weights = [key for key in stored if key.endswith("model.safetensors")]
    assert len(weights) >= 5  # the probe, three fine-tunes, the soup
    assert all(stored[key] > 1000 for key in weights)
    assert not [key for key in stored if key.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]
    assert not (ran.root / "mlruns").exists()
    assert not (ran.root / "mlflow.db").exists()


def test_dvc_has_nothing_to_do_afterwards_and_a_forced_stage_finds_the_same_soup(
    ran: Services,
) -> None:
    status = ran.run("dvc", "status", **ran.env)
    assert "up to date" in status.stdout, status.stdout + status.stderr
    record = ran.root / "out/tiny/cook.json"
    before = json.loads(record.read_text())
    count = query(ran, "mlflow", "select count(*) from runs")
    again = ran.run("dvc", "repro", "--force", "--single-item", "cook", **ran.env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Running stage 'cook'" in again.stdout
    after = json.loads(record.read_text())
    assert after["kept"] == before["kept"]
    assert query(ran, "mlflow", "select count(*) from runs") == count
    whole = ran.run("dvc", "repro", **ran.env)
    assert "Running stage 'finetune'" not in whole.stdout
    assert whole.returncode == 0, whole.stderr


def test_the_registered_soup_answers_a_jpeg_by_http(ran: Services) -> None:
    from PIL import Image

    port = free_ports()["MLFLOW_PORT"]
    serving = subprocess.Popen(
        [
            *("mlflow", "models", "serve", "-m", "models:/tiny-soup@champion"),
            *("--env-manager", "local", "-p", port, "--workers", "1"),
        ],
        cwd=ran.root,
        env=checkouts.environment(ran.root, **ran.env),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert serving.poll() is None
            try:
                return bool(urllib.request.urlopen(f"{url}/ping", timeout=60).status == 200)
            except OSError:
                return False

        until(answers, "the served model")
        photo = io.BytesIO()
        Image.open(next((ran.root / "data/test/red").iterdir())).save(photo, "JPEG", quality=95)
        body = json.dumps({"inputs": [base64.b64encode(photo.getvalue()).decode()]}).encode()
        request = urllib.request.Request(
            f"{url}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            (row,) = json.load(answer)["predictions"]
        assert row["label"] in ("blue", "green", "red")
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.wait()


def test_a_pickle_put_beside_the_champion_is_refused_and_not_read(
    ran: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from soup.models.allowed_files import Refused
    from soup.tracking import champion, fetch, registry_at

    for name, value in ran.env.items():
        monkeypatch.setenv(name, value)
    registry = registry_at(ran.env["MLFLOW_TRACKING_URI"])
    found = champion(registry, "tiny-soup")
    assert found is not None

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "boom",))

    (described,) = [key for key in objects(ran) if key.endswith("/MLmodel")]
    key = described.replace("MLmodel", "python_model.pkl")
    s3(ran).put_object(Bucket="mlflow", Key=key, Body=pickle.dumps(Bomb()))
    with pytest.raises(Refused, match=r"tiny-soup version 1 of .* it holds python_model\.pkl"):
        fetch(registry, found, tmp_path / "here")
    assert [*tmp_path.iterdir()] == []  # neither exploded nor kept
    s3(ran).delete_object(Bucket="mlflow", Key=key)
    fetch(registry, found, tmp_path / "here")


def test_wrong_credentials_are_told_before_anything_is_done(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from soup.tracking import Store, TrackingError

    wrong = services.env | {"PREFECT_API_AUTH_STRING": "modelsoup:wrong"}
    done = services.run(sys.executable, "-m", "flows.pipeline", **wrong)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "refuses the credentials; set PREFECT_API_AUTH_STRING" in done.stderr
    assert "Traceback" not in done.stderr
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(TrackingError, match="refuses the credentials; set MLFLOW_TRACKING_USER"):
        Store(services.env["MLFLOW_TRACKING_URI"], "wrong-credentials", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", services.env["MLFLOW_TRACKING_PASSWORD"])
    Store(services.env["MLFLOW_TRACKING_URI"], "wrong-credentials", tmp_path).require_artifacts()


def test_a_bucket_that_does_not_exist_is_told_before_anything_starts(services: Services) -> None:
    env = services.env
    with tempfile.TemporaryDirectory(prefix="modelsoup-services-") as folder:
        other = Services(services.root, reachable(Path(folder)), free_ports())
        own = {
            "S3_ENDPOINT": env["AWS_ENDPOINT_URL_S3"],
            "S3_ACCESS_KEY_ID": env["AWS_ACCESS_KEY_ID"],
            "S3_SECRET_ACCESS_KEY": env["AWS_SECRET_ACCESS_KEY"],
        }
        said = other.script("up", S3_BUCKET="nobodys", **own)
        assert said.returncode == 2
        assert f"there is no bucket nobodys at {own['S3_ENDPOINT']}" in said.stderr
        said = other.script("up", **(own | {"S3_SECRET_ACCESS_KEY": "wrong"}))
        assert said.returncode == 2
        assert "SignatureDoesNotMatch" in said.stderr
        assert not (Path(folder) / "postgres").exists()


def test_what_was_killed_is_started_again_and_nothing_else(services: Services) -> None:
    services.script("kill", "s3")
    status = services.script("status")
    assert status.returncode == 1
    assert "s3 is down" in status.stdout
    assert "mlflow runs" in status.stdout
    again = services.script("up")
    assert again.returncode == 0, again.stderr
    started = [line.split()[1] for line in again.stdout.splitlines() if line.startswith("starting")]
    assert started == ["s3"]


def test_a_killed_postgresql_recovers_and_the_servers_go_on_with_it(ran: Services) -> None:
    runs = query(ran, "mlflow", "select count(*) from runs")
    ran.script("kill", "postgres")
    assert not listens(ran.ports["POSTGRES_PORT"])
    again = ran.script("restart", "postgres")
    assert again.returncode == 0, again.stderr
    assert query(ran, "mlflow", "select count(*) from runs") == runs
    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    known = ran.env["PREFECT_API_AUTH_STRING"]
    for port, path, user in (
        (ran.ports["MLFLOW_PORT"], search, mlflow_user(ran)),
        (ran.ports["PREFECT_PORT"], "/api/work_pools/local", known),
    ):
        until(lambda port=port, path=path, user=user: ask(port, path, user)[0] == 200, path)


def test_stopped_and_started_again_they_know_all_that_they_knew(ran: Services) -> None:
    before = (query(ran, "mlflow", "select count(*) from runs"), objects(ran), ran.env)
    stopped = ran.script("down")
    assert stopped.returncode == 0, stopped.stderr
    assert not ran.processes()
    assert not any(listens(port) for port in ran.ports.values())
    started = ran.script("up", **dict.fromkeys(ran.ports, ""))  # the ports are remembered
    assert started.returncode == 0, started.stdout + started.stderr
    assert (query(ran, "mlflow", "select count(*) from runs"), objects(ran), ran.env) == before
    code = "import mlflow; mlflow.pyfunc.load_model('models:/tiny-soup@champion')"
    loaded = ran.run(sys.executable, "-c", code, **ran.env)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
