"""How a sweep stands, and the figures that Prometheus gets of it."""

import math
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.monitoring.prometheus import FOLDER, export_outcome, export_sweep
from flows.monitoring.sweep_state import SweepState
from tests.flows.clock import Clock

STEPS = {"ft-000": 100, "ft-001": 100, "ft-002": 100, "ft-003": 100, "ft-004": 100}


@pytest.fixture
def state(clock: Clock) -> SweepState:
    """One finished before, one failed, one stopped, one under way, one waiting."""
    state = SweepState(STEPS, 10, clock)
    state.done("ft-000", "finished before")
    state.step("ft-001", 40, {"heldout/accuracy": 0.6})  # from a state that was kept
    state.step("ft-002", 1, {})
    state.step("ft-003", 5, {"heldout/accuracy": 0.9})
    clock.now = 10.0
    state.step("ft-001", 60, {"train/loss": 1.0})
    state.step("ft-002", 20, {})
    state.done("ft-002", "failed: the loss became NaN at step 20")
    state.step("ft-003", 25, {"heldout/accuracy": 0.7})
    state.done("ft-003", "stopped after 25% of the run: 70.00% held-out")
    return state


def test_each_fine_tune_has_a_state_and_the_pace_is_of_work_done_now(state: SweepState) -> None:
    counts = {"waiting": 1, "running": 1, "finished": 1, "failed": 1, "stopped": 1}
    assert state.counts == counts
    assert state.best == 0.7  # what each is now, not what it was
    assert state.steps_done == 100 + 60 + 20 + 25
    assert state.rate == pytest.approx((20 + 19 + 20) * 10 / 10)
    assert state.eta == pytest.approx((40 + 100) * 10 / 59)  # the failed and stopped go no further
    assert state.sentence() == (
        "1 of 5 finished, 1 running, 1 failed, 1 stopped, best 70.00% held-out, "
        "59 images a second, 24 s left"
    )
    assert state.rows()[1] == {
        "fine-tune": "ft-001",
        "state": "running",
        "steps": "60 of 100",
        "held-out": "60.00%",
        "note": "",
    }
    assert state.rows()[2]["note"].startswith("failed: the loss became NaN")


def test_one_that_is_tried_again_is_under_way_again(state: SweepState) -> None:
    state.step("ft-002", 21, {})
    assert state.counts["running"] == 2
    assert state.fine_tunes["ft-002"].note == ""
    state.done("ft-002", "80.00% held-out in 9 s")
    assert (state.counts["finished"], state.counts["failed"]) == (2, 0)


def test_nothing_is_promised_before_it_is_known(clock: Clock) -> None:
    fresh = SweepState(STEPS, 10, clock)
    assert (fresh.eta, fresh.best, fresh.rate) == (None, None, 0.0)
    assert fresh.sentence() == "0 of 5 finished"
    for name in STEPS:
        fresh.done(name, "finished before")
    assert fresh.eta == 0.0


def read(folder: Path) -> dict[tuple[str, str], float]:
    """(name, its label other than the experiment) -> value, of all files."""
    found = {}
    for file in folder.glob("*.prom"):
        for family in text_string_to_metric_families(file.read_text()):
            for sample in family.samples:
                assert sample.labels["experiment"] == "shapes"
                found[sample.name, sample.labels.get("state", "")] = sample.value
    return found


def test_prometheus_gets_what_people_see(
    state: SweepState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_sweep("shapes", state, running=True)  # nobody asked
    monkeypatch.setenv(FOLDER, str(tmp_path / "metrics"))
    export_sweep("shapes", state, running=True)
    found = read(tmp_path / "metrics")
    for each, count in state.counts.items():
        assert found["modelsoup_sweep_finetunes", each] == count
    plain = {
        "steps": 500,
        "steps_done": 205,
        "images_per_second": state.rate,
        "best_heldout_accuracy": 0.7,
        "eta_seconds": state.eta,
        "slots_used": 1,
        "running": 1,
    }
    for name, value in plain.items():
        assert found[f"modelsoup_sweep_{name}", ""] == pytest.approx(value)
    assert found["modelsoup_sweep_updated_timestamp_seconds", ""] > 1e9
    export_sweep("shapes", SweepState(STEPS, 10), running=False)
    ended = read(tmp_path / "metrics")
    assert ended["modelsoup_sweep_running", ""] == ended["modelsoup_sweep_slots_used", ""] == 0
    assert math.isnan(ended["modelsoup_sweep_best_heldout_accuracy", ""])
    assert len([*(tmp_path / "metrics").iterdir()]) == 1  # nothing is left aside


def test_a_failure_does_not_forget_the_last_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    export_outcome("shapes", succeeded=True)
    success = read(tmp_path)["modelsoup_pipeline_last_success_timestamp_seconds", ""]
    export_outcome("shapes", succeeded=False)
    found = read(tmp_path)
    assert found["modelsoup_pipeline_last_success_timestamp_seconds", ""] == success
    assert found["modelsoup_pipeline_last_failure_timestamp_seconds", ""] >= success


def test_a_sweep_of_texts_is_told_by_its_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    state = SweepState(STEPS, 10, clock, "matthews", "texts")
    state.step("ft-001", 20, {"heldout/accuracy": 0.9, "heldout/matthews": 0.31})
    clock.now = 10.0
    state.step("ft-003", 5, {"heldout/accuracy": 0.8, "heldout/matthews": 0.42})
    state.step("ft-003", 6, {"heldout/matthews": math.nan})  # not defined: no best
    state.step("ft-001", 40, {})
    assert state.best == 0.31
    assert "best matthews 31.00 held-out" in state.sentence()
    assert "texts a second" in state.sentence()
    assert state.rows()[1]["held-out"] == "matthews 31.00"
    monkeypatch.setenv(FOLDER, str(tmp_path))
    export_sweep("cola", state, running=True)
    text = next(tmp_path.glob("*.prom")).read_text()
    assert 'best_heldout_score{experiment="cola",score="matthews"} 0.31' in text
    assert 'best_heldout_accuracy{experiment="cola"} NaN' in text
