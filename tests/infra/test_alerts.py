"""Alerts fire for those they are meant for: the rules, by Prometheus' own promtool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.checkouts import REPO

MONITORING = REPO / "infra" / "monitoring"
RULES = MONITORING / "alerts.yaml"
promtool = shutil.which("promtool")
pytestmark = pytest.mark.skipif(promtool is None, reason="Debian's prometheus is not installed")


def check(*arguments: str, cwd: Path = MONITORING) -> str:
    assert promtool is not None
    ran = subprocess.run(
        [promtool, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_configuration_and_rules_are_valid() -> None:
    check("check", "config", "--syntax-only", "prometheus.yaml")
    assert "rules found" in check("check", "rules", "alerts.yaml")


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
"""  # noqa: E501


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
    test = yaml.safe_load(SERIES.replace("RULES", str(RULES)))
    test["tests"][0]["promql_expr_test"] = [
        {
            "expr": f'count by (experiment) (ALERTS{{alertname="{alert}", alertstate="firing"}})',
            "eval_time": "50m",
            "exp_samples": [{"labels": f'{{experiment="{each}"}}', "value": 1} for each in who],
        }
    ]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    check("test", "rules", "test.yaml", cwd=tmp_path)


def test_alerts_of_servers_fire(tmp_path: Path) -> None:
    test = yaml.safe_load(SERIES.replace("RULES", str(RULES)))
    firing = {"ServerDown": 1, "MlflowErrors": 1, "MetricsFileUnreadable": 1}
    test["tests"][0]["promql_expr_test"] = [
        {
            "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
            "eval_time": "50m",
            "exp_samples": [{"labels": "{}", "value": count}],
        }
        for name, count in firing.items()
    ]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    check("test", "rules", "test.yaml", cwd=tmp_path)
