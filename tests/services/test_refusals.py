"""Who has no credentials or wrong ones is refused by all services that `make services` starts."""

import json
import re
import socket
import stat
import sys
from pathlib import Path

import pytest

from tests import doors
from tests.services.questions import ask, let_in, mlflow_user, query, s3
from tests.services.started import Services, missing, serves_s3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed"),
]
by_rclone = pytest.mark.skipif(
    not serves_s3(), reason="no rclone here that serves S3: 1.65 or newer"
)


def test_weights_are_in_s3_or_else_in_the_folder_that_it_would_serve(
    services: Services, tmp_path: Path
) -> None:
    weights = tmp_path / "some.safetensors"
    weights.write_bytes(b"weights")
    code = (
        "import mlflow, sys; run = mlflow.start_run(); mlflow.log_artifact(sys.argv[1]);"
        "print(mlflow.artifacts.load_text(run.info.artifact_uri + '/some.safetensors'))"
    )
    done = services.run(sys.executable, "-c", code, str(weights), **services.env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "weights" in done.stdout.splitlines()
    (stored,) = (services.folder / "s3/mlflow").rglob(weights.name)
    assert stored.read_bytes() == b"weights"
    assert stat.S_IMODE((services.folder / "s3/mlflow").stat().st_mode) == 0o700
    again = services.script("up").stdout
    assert ("AWS_ENDPOINT_URL_S3" in services.env) == serves_s3()
    assert (f"{services.folder}/s3/mlflow, a folder without S3" in again) != serves_s3()
    assert ("rclone 1.65 or newer" in again) != serves_s3()


def test_secrets_are_the_owners_alone_and_on_no_command_line(services: Services) -> None:
    for name in ("env", "worker-env", "psql-env", "settings"):
        assert stat.S_IMODE((services.folder / name).stat().st_mode) == 0o600
    passwords = [v for k, v in services.env.items() if re.search("PASSWORD|SECRET", k)]
    passwords.append(services.env["PREFECT_API_AUTH_STRING"].partition(":")[2])
    assert "password" not in (services.folder / "run/mlflow/auth.ini").read_text().lower().replace(
        "hashing a password", ""
    )
    assert len(set(passwords)) == (3 if serves_s3() else 2)
    assert all(len(password) == 32 for password in passwords)
    passwords += [v for k, v in services.remembered.items() if re.search("PASSWORD|SECRET", k)]
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


@by_rclone
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


def test_pages_of_other_sites_are_refused_even_with_credentials(services: Services) -> None:
    known = services.env["PREFECT_API_AUTH_STRING"]
    doors.prefect_wants_a_password(int(services.ports["PREFECT_PORT"]), known)
    doors.prefect_refuses_strangers(int(services.ports["PREFECT_PORT"]), known)
    doors.mlflow_refuses_strangers(int(services.ports["MLFLOW_PORT"]), mlflow_user(services))


@by_rclone
def test_what_is_signed_for_one_s3_holds_for_no_other(services: Services) -> None:
    signed = s3(services).generate_presigned_url("list_objects_v2", Params={"Bucket": "mlflow"})
    path = signed.split(services.ports["S3_PORT"], 1)[1]
    assert ask(services.ports["S3_PORT"], path)[0] == 200
    assert ask(services.ports["S3_PORT"], path, host="evil.example")[0] == 403


def test_servers_listen_on_loopback_alone(services: Services) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for address in addresses - {"127.0.0.1", "127.0.1.1", "::1"}:
        for port in services.ports.values():
            with socket.socket(socket.AF_INET6 if ":" in str(address) else socket.AF_INET) as probe:
                assert probe.connect_ex((str(address), int(port))) != 0, (address, port)


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
