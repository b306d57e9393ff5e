"""Figures for Prometheus, in files that node_exporter's textfile collector reads.

MODELSOUP_METRICS names the folder; without it nothing is written. Prometheus cannot scrape a
pipeline run itself: its port would be gone before the next scrape, and with it the time of its last
success. A file outlives the process that wrote it, and a file that is no longer written is a sign.
"""

import os
import re
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from flows.monitoring.sweep_state import SweepState
from soup.evaluation.score_text import ACCURACY

FOLDER = "MODELSOUP_METRICS"
SWEEP = {
    "finetunes": "Fine-tunes of the last sweep, by state.",
    "steps": "Training steps of the last sweep.",
    "steps_done": "Training steps that are done.",
    "images_per_second": "Training images (or texts) a second, of the last half minute.",
    "best_heldout_accuracy": "Best held-out accuracy of a fine-tune so far, a fraction; NaN where "
    "fine-tunes are compared by another score.",
    "best_heldout_score": "Best held-out score of a fine-tune so far, a fraction, by its name.",
    "eta_seconds": "Seconds until the last fine-tune is done; NaN while that is not known.",
    "slots_used": "Fine-tunes under way at once.",
    "running": "1 while the sweep is under way; it stays so if its process is killed.",
    "updated_timestamp_seconds": "When these figures were written.",
}


def export_sweep(experiment: str, state: SweepState, running: bool) -> None:
    """Write the figures of a sweep, if MODELSOUP_METRICS names a folder for them."""
    registry = CollectorRegistry()
    best = float("nan") if state.best is None else state.best
    values = {
        "steps": state.steps,
        "steps_done": state.steps_done,
        "images_per_second": state.rate if running else 0,
        "best_heldout_accuracy": best if state.score == ACCURACY else float("nan"),
        "eta_seconds": float("nan") if state.eta is None else state.eta,
        "slots_used": state.counts["running"] if running else 0,
        "running": int(running),
        "updated_timestamp_seconds": time.time(),
    }
    for name, value in values.items():
        gauge = Gauge(f"modelsoup_sweep_{name}", SWEEP[name], ["experiment"], registry=registry)
        gauge.labels(experiment).set(value)
    by_score = Gauge(
        "modelsoup_sweep_best_heldout_score",
        SWEEP["best_heldout_score"],
        ["experiment", "score"],
        registry=registry,
    )
    by_score.labels(experiment, state.score).set(best)
    by_state = Gauge(
        "modelsoup_sweep_finetunes", SWEEP["finetunes"], ["experiment", "state"], registry=registry
    )
    for fine_tune_state, count in state.counts.items():
        by_state.labels(experiment, fine_tune_state).set(count)
    _write(f"sweep-{experiment}", registry)


def export_outcome(experiment: str, succeeded: bool) -> None:
    """Write when the pipeline last succeeded or failed, to a file for each."""
    outcome, happened = ("success", "succeeded") if succeeded else ("failure", "failed")
    registry = CollectorRegistry()
    name = f"modelsoup_pipeline_last_{outcome}_timestamp_seconds"
    gauge = Gauge(name, f"When the pipeline last {happened}.", ["experiment"], registry=registry)
    gauge.labels(experiment).set_to_current_time()
    _write(f"{outcome}-{experiment}", registry)


def _write(name: str, registry: CollectorRegistry) -> None:
    if not os.environ.get(FOLDER):
        return
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^\w.-]", "_", name)
    write_to_textfile(str(folder / f"modelsoup-{safe}.prom"), registry)  # whole or not at all
