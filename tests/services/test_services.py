"""The pipeline on PostgreSQL, S3, MLflow, Prefect and a worker, as `make services` starts them."""

import base64
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import checkouts
from tests.buckets import bucket
from tests.services.questions import ask, flow_runs, mlflow_user, objects, query, s3
from tests.services.started import (
    Services,
    free_ports,
    listens,
    missing,
    own,
    serves_s3,
)
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is installed"),
]


@pytest.fixture(scope="module")
def with_s3(services: Services) -> Iterator[Services]:
    """With the S3 that they start, or a bucket beside them where no rclone here serves one."""
    if serves_s3():
        yield services
        return
    with bucket("mlflow", checked=False) as reach:
        services.script("stop", "mlflow")
        again = services.script("up", **own(reach))
        assert again.returncode == 0, again.stdout + again.stderr
        yield services


@pytest.fixture(scope="module")
def ran(with_s3: Services) -> Services:
    """The services after the deployed pipeline was triggered once."""
    services = with_s3
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


def test_a_second_start_finds_all_of_them_running_and_starts_nothing(with_s3: Services) -> None:
    before = set(with_s3.processes())
    again = with_s3.script("up")
    assert again.returncode == 0
    assert "all services run already" in again.stdout
    assert "starting" not in again.stdout
    assert before <= set(with_s3.processes())
    status = with_s3.script("status")
    assert status.returncode == 0
    assert status.stdout.split("\n")[:-1] == [
        f"{name} runs" for name in ("postgres", "s3", "mlflow", "prefect", "worker")
    ]


def test_a_triggered_run_ends_as_a_champion_with_runs_in_postgresql_and_weights_in_s3(
    ran: Services,
) -> None:
    statement = (
        "select runs.name, status from runs join experiments using (experiment_id) "
        "where experiments.name = 'tiny'"
    )
    runs = dict(query(ran, "mlflow", statement))
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
    left = ran.run("dvc", "repro", "--dry", **ran.env)
    assert "Running stage 'finetune'" not in left.stdout
    assert left.returncode == 0, left.stderr


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


def test_what_was_killed_is_started_again_and_nothing_else(with_s3: Services) -> None:
    # A bucket beside the services is not theirs to kill.
    killed, lives = ("s3", "mlflow") if serves_s3() else ("mlflow", "s3")
    with_s3.script("kill", killed)
    status = with_s3.script("status")
    assert status.returncode == 1
    assert f"{killed} is down" in status.stdout
    assert f"{lives} runs" in status.stdout
    again = with_s3.script("up")
    assert again.returncode == 0, again.stderr
    starts = [line.split()[1] for line in again.stdout.splitlines() if line.startswith("starting")]
    assert starts == [killed]


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
