"""System metrics on a run of a real store."""

from pathlib import Path

import mlflow
import pytest

from soup.tracking import Store, log_system_metrics
from tests.registries import open_store
from tests.waiting import until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


@pytest.mark.slow
def test_use_of_the_machine_is_logged_to_the_run_and_to_no_active_run(store: Store) -> None:
    run_id, said = store.start("sweep", "digest", "sweep"), []
    wanted = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}
    with log_system_metrics(store, run_id, said.append, seconds=0.2):
        until(lambda: wanted <= found(store, run_id), "figures of the machine")
        assert mlflow.active_run() is None
    assert not said
    store.end(run_id)


def found(store: Store, run_id: str) -> set[str]:
    (run,) = store.get([run_id])
    return {name for name in run.metrics if name.startswith("system/")}


@pytest.mark.slow
def test_a_monitor_that_does_not_start_is_said_and_the_work_is_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.system_metrics.system_metrics_monitor as metrics

    def broken(*_: object, **__: object) -> None:
        raise ImportError("no module named psutil")

    monkeypatch.setattr(metrics, "SystemMetricsMonitor", broken)
    said: list[str] = []
    done = False
    with log_system_metrics(store, "run", said.append):
        done = True
    assert done
    assert len(said) == 1
    assert "no system metrics in MLflow: ImportError: no module named psutil" in said[0]
    assert "compute.system_metrics: false" in said[0]
