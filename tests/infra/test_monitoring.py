"""What infra/monitoring asks for is what is really exported; Prometheus and node_exporter are real.

Debian: apt-get install prometheus prometheus-node-exporter
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.exporter import FOLDER, export_outcome, export_sweep
from flows.sweep_state import SweepState
from tests.checkouts import REPO, environment

MONITORING = REPO / "infra" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/modelsoup.json").read_text())
OURS = re.compile(r"\b(?:modelsoup|mlflow|prefect|node|process)_[a-z_]+|\bup\b")
promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(promtool is None, reason="Debian's prometheus is not installed")


def queries() -> list[str]:
    panels = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
    found = [t["expr"] for panel in panels for t in panel["targets"]]
    return [expr.replace("$experiment", ".*") for expr in found]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def check(*arguments: str, cwd: Path = MONITORING) -> str:
    assert promtool is not None
    ran = subprocess.run(
        [promtool, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@needs_promtool
def test_configuration_and_rules_are_valid() -> None:
    check("check", "config", "--syntax-only", "prometheus.yaml")
    assert f"{len(rules())} rules found" in check("check", "rules", "alerts.yaml")


SERIES = """
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'modelsoup_sweep_running{experiment="killed"}', values: '1x60'}
      - {series: 'modelsoup_sweep_updated_timestamp_seconds{experiment="killed"}', values: '0x60'}
      - {series: 'modelsoup_sweep_running{experiment="alive"}', values: '1x60'}
      - {series: 'modelsoup_sweep_updated_timestamp_seconds{experiment="alive"}', values: '0+60x60'}
      - {series: 'modelsoup_sweep_slots_used{experiment="alive"}', values: '2x60'}
      - {series: 'modelsoup_sweep_images_per_second{experiment="alive"}', values: '40x60'}
      - {series: 'modelsoup_sweep_running{experiment="stuck"}', values: '1x60'}
      - {series: 'modelsoup_sweep_updated_timestamp_seconds{experiment="stuck"}', values: '0+60x60'}
      - {series: 'modelsoup_sweep_slots_used{experiment="stuck"}', values: '2x60'}
      - {series: 'modelsoup_sweep_images_per_second{experiment="stuck"}', values: '0x60'}
      - {series: 'modelsoup_sweep_finetunes{experiment="bad", state="failed"}', values: '3x60'}
      - {series: 'modelsoup_sweep_finetunes{experiment="bad", state="finished"}', values: '7x60'}
      - {series: 'modelsoup_sweep_finetunes{experiment="good", state="failed"}', values: '1x60'}
      - {series: 'modelsoup_sweep_finetunes{experiment="good", state="finished"}', values: '9x60'}
      - {series: 'modelsoup_pipeline_last_failure_timestamp_seconds{experiment="never"}', values: '9x60'}
      - {series: 'modelsoup_pipeline_last_failure_timestamp_seconds{experiment="lately"}', values: '9x60'}
      - {series: 'modelsoup_pipeline_last_success_timestamp_seconds{experiment="lately"}', values: '5x60'}
      - {series: 'modelsoup_pipeline_last_failure_timestamp_seconds{experiment="mended"}', values: '9x60'}
      - {series: 'modelsoup_pipeline_last_success_timestamp_seconds{experiment="mended"}', values: '10x60'}
      - {series: 'up{job="mlflow", instance="a"}', values: '1x60'}
      - {series: 'up{job="prefect", instance="b"}', values: '0x60'}
      - {series: 'mlflow_http_request_total{status="500", method="GET"}', values: '0+60x60'}
      - {series: 'node_textfile_scrape_error', values: '1x60'}
    alert_rule_test:
"""  # noqa: E501


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "who"),
    [
        ("SweepSilent", ["killed"]),
        ("SweepStandsStill", ["stuck"]),
        ("FineTunesFail", ["bad"]),
        ("PipelineFailed", ["never", "lately"]),
        ("NoSuccessForAWeek", []),
    ],
)
def test_alerts_fire_for_those_they_are_meant_for(
    tmp_path: Path, alert: str, who: list[str]
) -> None:
    test = yaml.safe_load(SERIES.replace("RULES", str(MONITORING / "alerts.yaml")))
    rule = next(rule for rule in rules() if rule["alert"] == alert)
    test["tests"][0]["promql_expr_test"] = [
        {
            "expr": f'count by (experiment) (ALERTS{{alertname="{alert}", alertstate="firing"}})',
            "eval_time": "50m",
            "exp_samples": [{"labels": f'{{experiment="{each}"}}', "value": 1} for each in who],
        }
    ]
    del test["tests"][0]["alert_rule_test"]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    check("test", "rules", "test.yaml", cwd=tmp_path)
    assert rule["annotations"]["summary"]


@needs_promtool
def test_alerts_of_servers_fire(tmp_path: Path) -> None:
    test = yaml.safe_load(SERIES.replace("RULES", str(MONITORING / "alerts.yaml")))
    firing = {"ServerDown": 1, "MlflowErrors": 1, "MetricsFileUnreadable": 1}
    test["tests"][0]["promql_expr_test"] = [
        {
            "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
            "eval_time": "50m",
            "exp_samples": [{"labels": "{}", "value": count}],
        }
        for name, count in firing.items()
    ]
    del test["tests"][0]["alert_rule_test"]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    check("test", "rules", "test.yaml", cwd=tmp_path)


def test_the_dashboard_is_provisioned_with_its_data_source() -> None:
    folder = MONITORING / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/modelsoup.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == source["uid"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:  # nothing lies over anything else
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def get(url: str, credentials: str = "") -> bytes:
    headers = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers if credentials else {}), timeout=30
    ) as answer:
        return bytes(answer.read())


def until(ready: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    pytest.fail(f"{what} did not come up")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Everything that infra/monitoring/prometheus.yaml reads, with credentials, and Prometheus."""
    programs = ("prometheus", "prometheus-node-exporter")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Debian's {', '.join(missing)} is not installed")
    root = tmp_path_factory.mktemp("monitoring")
    ports = {name: free_port() for name in ("mlflow", "prefect", "node-exporter", "prometheus")}
    state = SweepState({"ft-000": 10, "ft-001": 10}, 4)
    state.step("ft-000", 5, {"heldout/accuracy": 0.5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(root / "metrics"))
        export_sweep("shapes", state, running=True)
        export_outcome("shapes", succeeded=True)
        export_outcome("shapes", succeeded=False)
    password = "correct-horse-battery"
    (root / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{root}/auth.db\n"
        f"admin_username = modelsoup\nadmin_password = {password}\n"
    )
    text = (MONITORING / "prometheus.yaml").read_text()
    for name in ("mlflow", "prefect"):
        (root / f"{name}_password").write_text(password)
        text = text.replace(f"/run/secrets/{name}_password", f"{root}/{name}_password")
    for target in ("mlflow:5000", "prefect:4200", "node-exporter:9100"):
        assert f'"{target}"' in text
        text = text.replace(target, f"127.0.0.1:{ports[target.split(':')[0]]}")
    text = text.replace("scrape_interval: 15s", "scrape_interval: 1s\n  scrape_timeout: 1s")
    (root / "prometheus.yaml").write_text(text)
    shutil.copy(MONITORING / "alerts.yaml", root)
    more = {
        "MLFLOW_AUTH_CONFIG_PATH": str(root / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_METRICS_ENABLED": "true",
        "PREFECT_SERVER_API_AUTH_STRING": f"modelsoup:{password}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    here = [f"--host=127.0.0.1", "--port"]  # noqa: F541
    bin_ = Path(sys.executable).parent
    commands = {
        "mlflow": [
            bin_ / "mlflow", "server", "--app-name", "basic-auth", *here, ports["mlflow"],
            "--workers", "1", "--backend-store-uri", f"sqlite:///{root}/mlflow.db",
            "--expose-prometheus", root / "exposed",
        ],
        "prefect": [bin_ / "prefect", "server", "start", *here, ports["prefect"]],
        "node-exporter": [
            "prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
            f"--collector.textfile.directory={root}/metrics",
            f"--web.listen-address=127.0.0.1:{ports['node-exporter']}",
        ],
        "prometheus": [
            "prometheus", f"--config.file={root}/prometheus.yaml", f"--storage.tsdb.path={root}/db",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ],
    }  # fmt: skip
    started = []
    try:
        for name, command in commands.items():
            with (root / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [str(part) for part in command],
                        env=environment(root, **more),
                        cwd=root,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        health = {"mlflow": "/health", "prefect": "/api/ready", "prometheus": "/-/ready"}
        for name, path in health.items():
            url = f"http://127.0.0.1:{ports[name]}{path}"
            until(lambda url=url: bool(get(url, f"modelsoup:{password}")), name)
        # A request for its metrics to tell of, and a login that is refused.
        for path in ("/metrics", "/api/2.0/mlflow/experiments/search?max_results=1"):
            get(f"http://127.0.0.1:{ports['mlflow']}{path}", f"modelsoup:{password}")
        for name, path in (("mlflow", "/metrics"), ("prefect", "/api/metrics")):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(f"http://127.0.0.1:{ports[name]}{path}")
        yield f"http://127.0.0.1:{ports['prometheus']}"
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    found: list[dict[str, Any]] = json.loads(get(url))["data"]["result"]
    return found


@pytest.mark.slow
def test_all_that_is_scraped_answers(prometheus: str) -> None:
    until(lambda: [r["value"][1] for r in ask(prometheus, "up")] == ["1"] * 3, "a scrape of all")
    jobs = {r["metric"]["job"] for r in ask(prometheus, "up")}
    assert jobs == {"sweeps", "mlflow", "prefect"}
    errors = ask(prometheus, "node_textfile_scrape_error")
    assert [r["value"][1] for r in errors] == ["0"]


@pytest.mark.slow
def test_every_panel_and_every_alert_asks_for_what_is_exported(prometheus: str) -> None:
    for query in queries():
        # A rate needs two scrapes.
        until(lambda query=query: bool(ask(prometheus, query)), f"an answer to {query}", 60)
    for rule in rules():
        for name in set(OURS.findall(rule["expr"])):
            assert ask(prometheus, name), f"{rule['alert']} asks for {name}, which nobody exports"


@pytest.mark.slow
def test_the_test_above_can_fail(prometheus: str) -> None:
    assert ask(prometheus, "modelsoup_sweep_nothing") == []
