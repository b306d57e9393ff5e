"""What infra/monitoring asks for is what is really exported; Prometheus and node_exporter are real.

Debian: apt-get install prometheus prometheus-node-exporter
"""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from flows.monitoring.prometheus import FOLDER, export_outcome, export_sweep
from flows.monitoring.sweep_state import SweepState
from tests.checkouts import REPO
from tests.servers import free_port
from tests.services.started import Services, missing
from tests.waiting import until

MONITORING = REPO / "infra" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/modelsoup.json").read_text())
asks_services = pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed")
OURS = re.compile(r"\b(?:modelsoup|mlflow|prefect|node|process)_[a-z_]+|\bup\b")


def queries() -> list[str]:
    panels = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
    found = [t["expr"] for panel in panels for t in panel["targets"]]
    return [expr.replace("$experiment", ".*") for expr in found]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


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


def get(url: str, credentials: str = "") -> bytes:
    headers = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers if credentials else {}), timeout=180
    ) as answer:
        return bytes(answer.read())


def answered(ready: Callable[[], bool], what: str) -> None:
    """Wait for what is no error, and so."""

    def now() -> bool:
        try:
            return ready()
        except (OSError, ValueError):
            return False

    until(now, what, every=0.5)


@pytest.fixture(scope="module")
def prometheus(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Everything that infra/monitoring/prometheus.yaml reads, with credentials, and Prometheus."""
    programs = ("prometheus", "prometheus-node-exporter")
    if lacking := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"Debian's {', '.join(lacking)} is not installed")
    root = tmp_path_factory.mktemp("monitoring")
    ports = {name: str(free_port()) for name in ("node-exporter", "prometheus")}
    known = {}
    for name in ("mlflow", "prefect"):
        ports[name] = services.ports[f"{name.upper()}_PORT"]
        known[name] = services.remembered[f"{name.upper()}_PASSWORD"]
    state = SweepState({"ft-000": 10, "ft-001": 10}, 4)
    state.step("ft-000", 5, {"heldout/accuracy": 0.5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(root / "metrics"))
        export_sweep("shapes", state, running=True)
        export_outcome("shapes", succeeded=True)
        export_outcome("shapes", succeeded=False)
    text = (MONITORING / "prometheus.yaml").read_text()
    for name, password in known.items():
        (root / f"{name}_password").write_text(password)
        text = text.replace(f"secrets/{name}_password", f"{root}/{name}_password")
    for target in ("mlflow:5000", "prefect:4200", "node-exporter:9100"):
        assert f'"{target}"' in text
        text = text.replace(target, f"127.0.0.1:{ports[target.split(':')[0]]}")
    text = text.replace("scrape_interval: 15s", "scrape_interval: 5s\n  scrape_timeout: 5s")
    (root / "prometheus.yaml").write_text(text)
    shutil.copy(MONITORING / "alerts.yaml", root)
    commands = {
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
                        command, cwd=root, stdout=log, stderr=log, start_new_session=True
                    )
                )
        answered(lambda: bool(get(f"http://127.0.0.1:{ports['prometheus']}/-/ready")), "prometheus")
        # A request for its metrics to tell of, and a login that is refused.
        for path in ("/metrics", "/api/2.0/mlflow/experiments/search?max_results=1"):
            get(f"http://127.0.0.1:{ports['mlflow']}{path}", f"modelsoup:{known['mlflow']}")
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


@asks_services
@pytest.mark.slow
def test_all_that_is_scraped_answers(prometheus: str) -> None:
    scraped = ["1"] * 3
    answered(lambda: [r["value"][1] for r in ask(prometheus, "up")] == scraped, "a scrape of all")
    jobs = {r["metric"]["job"] for r in ask(prometheus, "up")}
    assert jobs == {"sweeps", "mlflow", "prefect"}
    errors = ask(prometheus, "node_textfile_scrape_error")
    assert [r["value"][1] for r in errors] == ["0"]


@asks_services
@pytest.mark.slow
def test_every_panel_and_every_alert_asks_for_what_is_exported(prometheus: str) -> None:
    for query in queries():
        # A rate needs two scrapes.
        answered(lambda query=query: bool(ask(prometheus, query)), f"an answer to {query}")
    for rule in rules():
        for name in set(OURS.findall(rule["expr"])):
            why = f"{rule['alert']} asks for {name}, which nobody exports"
            answered(lambda name=name: bool(ask(prometheus, name)), why)


@asks_services
@pytest.mark.slow
def test_the_test_above_can_fail(prometheus: str) -> None:
    assert ask(prometheus, "modelsoup_sweep_nothing") == []
