"""The deployment, on a real Prefect server with a real worker and a real MLflow server."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import checkouts

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A checkout with `make deploy` running in it, and the environment to reach it."""
    root = checkouts.make(tmp_path_factory.mktemp("served"))
    (root / "infra").mkdir()
    (root / "infra/ui.sh").write_bytes((checkouts.REPO / "infra/ui.sh").read_bytes())
    (root / "prefect.yaml").write_bytes((checkouts.REPO / "prefect.yaml").read_bytes())
    mlflow, prefect = free_port(), free_port()
    ports = {"MLFLOW_PORT": str(mlflow), "PREFECT_PORT": str(prefect)}
    served = subprocess.Popen(
        ["bash", "infra/ui.sh", "worker"],
        cwd=root,
        env=checkouts.environment(root, **ports),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    assert served.stdout is not None
    for line in served.stdout:
        said.append(line)
        if "Ctrl-C" in line:
            break
    assert any("pipeline/local" in line for line in said), said
    yield (
        root,
        {
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        },
    )
    os.killpg(served.pid, signal.SIGINT)
    try:
        served.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(served.pid, signal.SIGKILL)


def ask(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{api}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_form_shows_every_parameter_filled_in_from_params_yaml(
    services: tuple[Path, dict[str, str]],
) -> None:
    _, reach = services
    deployment = ask(reach["PREFECT_API_URL"], "/deployments/name/pipeline/local")
    schema = deployment["parameter_openapi_schema"]
    default = schema["properties"]["params"]["default"]
    assert default["sweep"]["runs"] == 3
    recipe = schema["definitions"]["Cook"]["properties"]["recipe"]
    assert recipe["enum"] == ["uniform", "greedy"]
    assert "description" in schema["definitions"]["Sweep"]["properties"]["runs"]


def test_a_triggered_run_ends_with_a_soup_in_the_served_registry(
    services: tuple[Path, dict[str, str]],
) -> None:
    root, reach = services
    started = time.monotonic()
    ran = checkouts.run(root, "prefect", "deployment", "run", "pipeline/local", "--watch", **reach)
    print(f"deployment run: {time.monotonic() - started:.0f} s")
    log = (root / ".cache/ui/worker.log").read_text()
    assert ran.returncode == 0, ran.stdout[-2000:] + log[-3000:]
    import mlflow

    uri = reach["MLFLOW_TRACKING_URI"]
    client = mlflow.MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("tiny-soup", "champion")
    soup = client.get_run(version.run_id)
    flow_runs = ask(reach["PREFECT_API_URL"], "/flow_runs/filter", {})
    assert soup.data.tags["soup.flow_run"] in {run["id"] for run in flow_runs}
    names = {run["name"] for run in ask(reach["PREFECT_API_URL"], "/task_runs/filter", {})}
    assert {"ft-000", "ft-001", "ft-002"} <= names
    artifacts = ask(reach["PREFECT_API_URL"], "/artifacts/filter", {})
    kinds = {artifact["key"]: artifact for artifact in artifacts}
    assert {"sweep", "results"} <= set(kinds)
    assert float(kinds["sweep"]["data"]) == 100
    assert "greedy soup" in kinds["results"]["data"]


def test_a_bad_parameter_is_refused_before_a_run_is_made(
    services: tuple[Path, dict[str, str]],
) -> None:
    root, reach = services
    before = len(ask(reach["PREFECT_API_URL"], "/flow_runs/filter", {}))
    params = checkouts.parameters(root, sweep={"runs": 0})
    ran = checkouts.run(
        root,
        *("prefect", "deployment", "run", "pipeline/local"),
        *("--params", json.dumps({"params": params})),
        **reach,
    )
    assert ran.returncode != 0
    assert "runs" in ran.stdout + ran.stderr
    assert len(ask(reach["PREFECT_API_URL"], "/flow_runs/filter", {})) == before


def test_the_served_soup_answers_by_http(services: tuple[Path, dict[str, str]]) -> None:
    import base64

    root, reach = services
    port = free_port()
    serving = subprocess.Popen(
        [
            *("mlflow", "models", "serve", "-m", "models:/tiny-soup@champion"),
            *("--env-manager", "local", "-p", str(port), "--workers", "1"),
        ],
        cwd=root,
        env=checkouts.environment(root, **reach),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        image = next((root / "data/test/red").iterdir()).read_bytes()
        answer = ask(url, "/invocations", {"inputs": [base64.b64encode(image).decode()]})
        (row,) = answer["predictions"]
        assert row["label"] in ("blue", "green", "red")
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
