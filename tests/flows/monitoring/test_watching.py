"""A pipeline run that is watched by all means at once, and one that fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.monitoring.prometheus import FOLDER
from soup.tracking import Store, history
from tests import checkouts
from tests.faults.ground import ALL, Ground, Trial
from tests.flows.monitoring.listener import Listener
from tests.flows.served import ask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def listener():
    found = Listener()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def watched(plain: Ground, listener: Listener) -> Trial:
    """A pipeline that is watched by all means at once."""
    trial = plain.trial(ALL, sweep=checkouts.parameters(plain.folder)["sweep"])
    trial.environment = {
        "MODELSOUP_LOG": "json",
        "MODELSOUP_WEBHOOK": listener.address,
        "MODELSOUP_ACTOR": "ada@lab",
        FOLDER: str(trial.root / ".cache" / "metrics"),
    }
    return trial


def tables(plain: Ground) -> list[dict[str, Any]]:
    """Prefect's tables of fine-tunes."""
    wanted = {"artifacts": {"key": {"any_": ["fine-tunes"]}}}
    found: list[dict[str, Any]] = ask(plain.prefect.api, "/artifacts/filter", wanted)
    return found


def figures(root: Path) -> dict[tuple[str, ...], float]:
    found = {}
    for file in (root / ".cache" / "metrics").glob("*.prom"):
        for family in text_string_to_metric_families(file.read_text()):
            for sample in family.samples:
                found[(sample.name, *sorted(sample.labels.values()))] = sample.value
    return found


def test_a_run_is_watched_and_so_is_one_that_fails_after_it(
    plain: Ground, watched: Trial, listener: Listener
) -> None:
    is_seen_in_prometheus_in_the_logs_and_by_the_webhook(plain, watched, listener)
    fails_and_does_not_hide_the_last_success(watched, listener)


def is_seen_in_prometheus_in_the_logs_and_by_the_webhook(
    plain: Ground, trial: Trial, listener: Listener
) -> None:
    root = trial.root
    earlier = {table["id"] for table in tables(plain)}
    code, said = trial.run(), trial.log.read_text()
    assert code == 0, said[-3000:]
    seen = figures(root)
    assert seen["modelsoup_sweep_finetunes", "finished", "tiny"] == 3
    assert seen["modelsoup_sweep_finetunes", "running", "tiny"] == 0
    assert seen["modelsoup_sweep_steps_done", "tiny"] == seen["modelsoup_sweep_steps", "tiny"] > 0
    assert seen["modelsoup_sweep_running", "tiny"] == 0
    assert 0 < seen["modelsoup_sweep_best_heldout_accuracy", "tiny"] <= 1
    assert seen["modelsoup_pipeline_last_success_timestamp_seconds", "tiny"] > 1e9
    assert ("modelsoup_pipeline_last_failure_timestamp_seconds", "tiny") not in seen

    lines = [json.loads(line) for line in said.splitlines()]
    steps = [line for line in lines if line["message"] == "step"]
    assert {line["fine_tune"] for line in steps} == {"ft-000", "ft-001", "ft-002"}
    record = json.loads((root / "out/tiny/finetune.json").read_text())
    assert {line["sweep"] for line in steps} == {record["sweep"]}
    assert {line["stage"] for line in steps} == {"finetune"}
    assert all(len(line["flow_run"]) == 36 for line in steps)
    opened = {line["fine_tune"]: line["run"] for line in lines if line["message"] == "run opened"}
    assert opened.items() <= record["runs"].items()
    assert len(opened) == 3
    assert {line["stage"] for line in lines if "stage" in line} >= {"prepare", "cook", "report"}

    (table,) = [a for a in tables(plain) if a["id"] not in earlier]  # one, however often updated
    assert table["description"].startswith("3 of 3 finished, best")
    rows: list[dict[str, Any]] = json.loads(table["data"])
    assert {(row["fine-tune"], row["state"]) for row in rows} == {
        (name, "finished") for name in opened
    }

    promotion, success = listener.heard
    registered = json.loads((root / "out/tiny/register.json").read_text())
    assert promotion["event"] == "promotion"
    said_first, said_then = promotion["text"].split("; ")
    assert said_first == "tiny: tiny-soup version 1, the new champion: the first champion"
    gain = 100 * success["figures"]["test"]["gain"]
    assert said_then.startswith(f"test {gain:+.2f} against its best single model (p = ")
    assert promotion["figures"]["version"] == registered["version"] == "1"
    assert success["event"] == "success"
    assert success["text"].startswith("tiny: the pipeline is done. tiny-soup version 1")
    assert success["figures"] == json.loads((root / "out/tiny/metrics.json").read_text())
    assert "SECRET" not in said
    store = Store(trial.uri, "tiny", root / "mlruns")
    assert [(e.what, e.who) for e in history(store, "tiny-soup")] == [("promoted", "ada@lab")]


def fails_and_does_not_hide_the_last_success(trial: Trial, listener: Listener) -> None:
    root = trial.root
    trial.log.unlink()
    listener.heard.clear()
    listener.answers = [500, 500]
    parameters = json.loads((root / "params.yaml").read_text())
    parameters["sweep"] |= {"method": "grid", "runs": 1, "clip": 1e30}
    parameters["sweep"]["space"] |= {"lr": [1e30], "epochs": [3]}
    (root / "params.yaml").write_text(json.dumps(parameters))
    code, said = trial.run(), trial.log.read_text()
    assert code == 1
    assert "Traceback" not in said
    seen = figures(root)
    success = seen["modelsoup_pipeline_last_success_timestamp_seconds", "tiny"]
    assert seen["modelsoup_pipeline_last_failure_timestamp_seconds", "tiny"] > success
    assert seen["modelsoup_sweep_finetunes", "failed", "tiny"] == 1
    told = [each["event"] for each in listener.heard]
    assert told == ["failure", "failure"]  # once more, for the server's error
    assert "all 1 fine-tunes failed" in listener.heard[0]["text"]
    lines = [json.loads(line) for line in said.splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert len(errors) == 1
    assert "all 1 fine-tunes failed" in errors[0]
    assert "lower sweep.space.lr" in errors[0]
    refused = [
        line["message"] for line in lines if "was not told of the failure" in line["message"]
    ]
    assert len(refused) == 1
    assert "HTTP 500" in refused[0]
