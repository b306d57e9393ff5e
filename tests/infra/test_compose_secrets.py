"""infra/compose.yaml: each container has its own credentials and no others."""

import re
from typing import Any

import pytest

from tests.infra.test_compose import FILE, SERVICES, TEXT, flat


def known(name: str) -> set[str]:
    """The variables of .env that a service is told."""
    service = SERVICES[name]
    told = str([service.get("environment", {}), service.get("command"), service.get("entrypoint")])
    return set(re.findall(r"\$\{([A-Z_0-9]*(?:PASSWORD|SECRET)[A-Z_0-9]*)", told))


@pytest.mark.parametrize(
    ("name", "own"),
    {
        "worker": {"MLFLOW_WORKER_PASSWORD", "PREFECT_PASSWORD"},
        "worker-gpu": {"MLFLOW_WORKER_PASSWORD", "PREFECT_PASSWORD"},
        "deploy": {"MLFLOW_WORKER_PASSWORD", "PREFECT_PASSWORD"},
        "prefect": {"PREFECT_DATABASE_PASSWORD", "PREFECT_PASSWORD"},
        "mlflow": {
            *("MLFLOW_DATABASE_PASSWORD", "MLFLOW_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"),
            "S3_SECRET_ACCESS_KEY",
        },
        "worker-user": {"MLFLOW_PASSWORD", "MLFLOW_WORKER_PASSWORD"},
        "s3": {"S3_SECRET_ACCESS_KEY"},
        "proxy": set(),
        "node-exporter": set(),
    }.items(),
)
def test_a_service_is_told_its_own_passwords_alone(name: str, own: set[str]) -> None:
    assert known(name) == own
    assert not any(key.startswith("AWS_") for key in worker_environment())


def worker_environment() -> dict[str, str]:
    return flat(SERVICES["worker"]["environment"])


@pytest.mark.parametrize("name", ["worker", "worker-gpu", "deploy"])
def test_a_worker_sees_the_checkout_but_no_password_or_key_in_it(name: str) -> None:
    service: dict[str, Any] = SERVICES[name]
    assert "..:/app" in service["volumes"]
    assert "/dev/null:/app/.env:ro" in service["volumes"]
    empty = {entry.partition(":")[0] for entry in service["tmpfs"]}
    assert {"/app/infra/proxy/tls", "/app/.services", "/app/.cache/ui"} <= empty
    # Docker would make what is missing, as root, in the checkout.
    made = (FILE.parent / "secrets.sh").read_text()
    for folder in (".services", ".cache/ui"):
        assert re.search(rf"^mkdir -p .*{re.escape(folder)}( |$)", made, re.M)


@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_each_server_has_a_role_of_its_own_in_the_database(name: str) -> None:
    told = flat(SERVICES[name]["environment"])
    variable = f"{name.upper()}_DATABASE_PASSWORD"
    assert told["PGUSER"] == name
    assert told["PGPASSWORD"].startswith(f"${{{variable}:?")
    made = flat(SERVICES["postgres"]["environment"])
    assert made[variable] == told["PGPASSWORD"]
    assert made["POSTGRES_USER"] not in ("mlflow", "prefect")
    script = (FILE.parent / "postgres/databases.sh").read_text()
    assert f"role {name} {variable}" in script


def test_pools_and_what_postgresql_allows_come_from_one_file() -> None:
    for name in ("mlflow", "postgres"):
        assert SERVICES[name]["env_file"] == ["connections/connections.env"]
    assert (FILE.parent / "connections/connections.env").is_file()
    assert '-c max_connections="$$POSTGRES_MAX_CONNECTIONS"' in SERVICES["postgres"]["command"][0]
    assert not any("--workers" in word for word in SERVICES["mlflow"]["command"])  # MLFLOW_WORKERS
    assert "POOL_SIZE" not in TEXT


def test_mlflows_health_is_whether_it_can_write() -> None:
    check = SERVICES["mlflow"]["healthcheck"]
    assert check["test"] == ["CMD", "python", "/etc/mlflow/health.py"]
    assert "COPY infra/mlflow /etc/mlflow" in (FILE.parent / "Dockerfile").read_text()
