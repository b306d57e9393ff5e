"""infra/compose.yaml: no engine runs here, so it is checked as far as a file can be."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from flows.server.guard import LOOPBACK, guarded, listed
from tests.checkouts import REPO

FILE = REPO / "infra/compose.yaml"
TEXT = FILE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"bucket", "deploy", "worker-user"}
SECRET = re.compile("PASSWORD|SECRET|AUTH_STRING")

services = pytest.mark.parametrize("name", SERVICES)


def flat(environment: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in environment.items()}


def test_the_file_is_what_compose_reads() -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_servers_and_one_worker_start_by_default_the_rest_by_profile() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert {name for name, asked in profiles.items() if not asked} == {
        *("postgres", "s3", "bucket", "mlflow", "worker-user", "prefect", "deploy", "worker"),
        "proxy",
    }
    assert profiles["worker-gpu"] == ["gpu"]
    for name in ("node-exporter", "prometheus", "grafana"):
        assert profiles[name] == ["monitoring"]


@services
def test_each_service_is_an_ordinary_user_without_privileges_and_cannot_change_its_image(
    name: str,
) -> None:
    service = SERVICES[name]
    user = re.sub(r"\$\{\w+:-(\d+)\}", r"\1", service["user"])
    assert re.fullmatch(r"[1-9]\d*:\d+", user)
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    assert "/var/run/docker.sock" not in json.dumps(service)


@services
def test_no_service_can_take_all_memory_or_all_processes_of_the_machine(name: str) -> None:
    memory = re.fullmatch(r"(\$\{\w+:-)?(\d+)(mb|gb)\}?", SERVICES[name]["mem_limit"])
    assert memory
    assert 0 < int(memory[2]) * (1 if memory[3] == "gb" else 1 / 1024) <= 64
    assert 0 < SERVICES[name]["pids_limit"] <= 4096
    shared = re.fullmatch(r"(\d+)(mb|gb)", SERVICES[name].get("shm_size", "0mb"))
    assert shared
    units = {"mb": 1, "gb": 1024}
    assert int(shared[1]) * units[shared[2]] < int(memory[2]) * units[memory[3]]


def filled(name: str, **given: str) -> dict[str, str]:
    """A service's environment as compose fills it in, where .env says no more than `given`."""

    def value(match: re.Match[str]) -> str:
        return given.get(match[1], match[2])

    told = flat(SERVICES[name]["environment"])
    return {key: re.sub(r"\$\{(\w+):[-?]([^}]*)\}", value, text) for key, text in told.items()}


def test_prefect_answers_to_clients_inside_and_to_pages_of_its_own_alone() -> None:
    assert "flows.server.asgi:app" in SERVICES["prefect"]["command"]
    told = filled("prefect", PUBLIC_HOST="soup.example", PREFECT_PORT="4201")
    own = "https://soup.example:4201"
    assert told["PREFECT_SERVER_UI_API_URL"] == f"{own}/api"
    hosts = [*LOOPBACK, *listed(told["MODELSOUP_PREFECT_HOSTS"])]
    app = guarded(
        PlainTextResponse("in"), hosts, listed(told["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"])
    )
    client = TestClient(app)

    def answer(host: str, **headers: str) -> int:
        return client.get("/", headers={"Host": host, **headers}).status_code

    asked = re.findall(r"http://([^/]+)/", SERVICES["worker"]["environment"]["PREFECT_API_URL"])
    for host in (*asked, "127.0.0.1:4200", "soup.example:4201"):
        assert answer(host) == answer(host, Origin=own) == 200
        for origin in ("https://evil.example", "null", "https://soup.example:5000"):
            assert answer(host, Origin=origin) == 403
    assert answer("evil.example") == answer("evil.example", Origin=own) == 400


def test_mlflow_answers_to_clients_inside_and_to_pages_of_its_own_alone() -> None:
    told = filled("mlflow", PUBLIC_HOST="soup.example", MLFLOW_PORT="5001")
    hosts = told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert hosts == ["mlflow:5000", "soup.example:5001"]
    assert told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://soup.example:5001"


@services
def test_each_service_that_stays_is_asked_for_its_health(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name in ONCE:
        assert check == {"disable": True}
        assert SERVICES[name]["restart"] == "on-failure"
    else:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@services
def test_who_needs_another_waits_until_it_is_healthy(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        once = "service_completed_successfully"
        assert how["condition"] == (once if needed in ONCE else "service_healthy")
        # What starts by default must not wait for what does not.
        assert set(SERVICES[needed].get("profiles", [])) <= set(SERVICES[name].get("profiles", []))


@services
def test_images_are_pinned(name: str) -> None:
    image, tag = SERVICES[name]["image"].partition("@")[0].rsplit(":", 1)
    assert re.search(r"\d+\.\d+", tag), f"{image}:{tag}"
    assert "latest" not in tag


def test_our_images_are_of_this_version_and_built_from_targets_that_exist() -> None:
    version = re.search(r'^version = "(.+)"', (REPO / "pyproject.toml").read_text(), re.M)
    assert version
    targets = re.findall(r"^FROM \S+ AS (\S+)", (REPO / "infra/Dockerfile").read_text(), re.M)
    ours = {n: s for n, s in SERVICES.items() if s["image"].startswith("modelsoup/")}
    assert len(ours) == 6
    for service in ours.values():
        kind, tag = service["image"].removeprefix("modelsoup/").split(":")
        assert tag == version[1]
        assert service["build"]["target"] == kind
        assert kind in targets
        assert (FILE.parent / service["build"]["context"]).resolve() == REPO
        assert (REPO / service["build"]["dockerfile"]).is_file()


def test_only_the_proxy_can_be_reached_and_on_loopback_unless_told_otherwise() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    for port in SERVICES["proxy"]["ports"]:
        assert port.startswith("${BIND:-127.0.0.1}:")
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = {name for name, s in SERVICES.items() if "outside" in s["networks"]}
    assert outside == {"proxy", "worker", "worker-gpu"}
    assert not any("network_mode" in service for service in SERVICES.values())


@services
def test_no_secret_stands_in_the_file_and_none_has_a_default(name: str) -> None:
    for key, value in flat(SERVICES[name].get("environment", {})).items():
        if SECRET.search(key):
            assert re.fullmatch(r"(modelsoup:)?\$\{\w+:\?[^}]+\}", value), key
    assert not re.search(r"://[^/\s]*:[^/\s@]+@", TEXT)  # user:password@host


def test_every_variable_is_in_the_example_and_every_secret_of_it_is_empty() -> None:
    example = (REPO / ".env.example").read_text()
    told = dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", example, re.M))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)", TEXT))
    assert used - set(told) == set()
    required = set(re.findall(r"\$\{([A-Z_0-9]+):\?", TEXT))
    assert {name for name in told if SECRET.search(name)} == {
        name for name in required if SECRET.search(name)
    }
    assert not any(value for name, value in told.items() if SECRET.search(name))
    defaults = dict(re.findall(r"\$\{([A-Z_0-9]+):-([^}]*)\}", TEXT))
    assert {name: told[name] for name in defaults} == defaults


def test_what_is_mounted_from_the_checkout_is_there() -> None:
    later = ("${TLS_FOLDER", "../.cache/metrics")  # infra/secrets.sh makes both
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source == "/dev/null":
                continue  # over a file that is not the service's to read
            if source.startswith((".", "$")):
                assert source.startswith(later) or (FILE.parent / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_clients_and_servers_are_told_the_same() -> None:
    worker, mlflow, prefect = (
        flat(SERVICES[name]["environment"]) for name in ("worker", "mlflow", "prefect")
    )
    assert worker["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert "mlflow:5000" in mlflow["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in mlflow["MLFLOW_SERVER_ALLOWED_HOSTS"]
    made = flat(SERVICES["worker-user"]["environment"])
    assert SERVICES["worker-user"]["command"][-2] == worker["MLFLOW_TRACKING_USERNAME"]
    assert made["MLFLOW_USER_PASSWORD"] == worker["MLFLOW_TRACKING_PASSWORD"]
    assert made["MLFLOW_TRACKING_PASSWORD"] == mlflow["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert made["MLFLOW_USER_PASSWORD"] != made["MLFLOW_TRACKING_PASSWORD"]
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == worker["PREFECT_API_AUTH_STRING"]
    assert prefect["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")
    assert "--app-name=basic-auth" in SERVICES["mlflow"]["command"]
    # MLflow's clients get weights through its server: the key of the store is not theirs.
    assert not any(key.startswith("MLFLOW_S3") for key in worker)


def test_workers_have_shared_memory_and_one_of_them_the_gpus() -> None:
    assert SERVICES["worker"]["shm_size"] == "2gb"
    assert "deploy" not in SERVICES["worker"]
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICES["worker-gpu"]["build"]["args"] == {
        "WORKER_LOCK": "infra/worker.lock",
        "TORCH_INDEX": "",
    }


def test_prometheus_asks_services_that_are_there_with_passwords_that_it_has() -> None:
    told = yaml.safe_load((REPO / "infra/monitoring/prometheus.yaml").read_text())
    script = SERVICES["prometheus"]["command"][0]
    hosts = set()
    for job in told["scrape_configs"]:
        for place in job["static_configs"]:
            hosts |= {target.split(":")[0] for target in place["targets"]}
        # Both refuse who has no password, on the page with their figures as well.
        if job["job_name"] in ("mlflow", "prefect"):
            assert job["basic_auth"]["username"] == "modelsoup"
            assert f"/etc/prometheus/{job['basic_auth']['password_file']}\n" in script
    assert hosts <= set(SERVICES)
    assert {"mlflow", "prefect", "node-exporter"} <= hosts
    [folder] = [v for v in SERVICES["node-exporter"]["volumes"] if v.endswith(":/metrics:ro")]
    written = SERVICES["worker"]["environment"]["MODELSOUP_METRICS"]
    assert folder.split(":")[0] == written.replace("/app", "..")
