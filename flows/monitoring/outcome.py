"""How a pipeline run ended, told to those who watch: Prometheus and the webhook."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.markup import escape

from flows.monitoring.prometheus import export_outcome
from flows.monitoring.webhook import ADDRESS, notify
from flows.stage import Record, display, open_project
from soup.config.params import Params

Records = Mapping[str, Record]


@contextmanager
def report_outcome(params: Params) -> Iterator[Callable[[Records], None]]:
    """Within, the pipeline runs; yields what to call with its records when it is done."""
    finished: list[Records] = []
    try:
        yield finished.append
    except BaseException as error:
        reason = str(error) or type(error).__name__
        _export(params, succeeded=False)
        text = f"{params.experiment}: the pipeline failed: {reason}"
        notify("failure", text[:3000], display.say, figures={"error": type(error).__name__})
        raise
    _export(params, succeeded=True)
    for records in finished:
        _harmless(lambda records=records: _success(params, records))  # type: ignore[misc]


def _success(params: Params, records: Records) -> None:
    soup = records["register"]
    metrics = json.loads((open_project(params).out / "metrics.json").read_text())
    text = (
        f"{params.experiment}: the pipeline is done. {soup['summary']}. "
        f"The {records['cook']['recipe']} soup averages {len(records['cook']['kept'])}"
        f"{_scores(metrics)}."
    )
    notify("success", text, display.say, _links(params, soup["run_id"]), metrics)


def promoted(params: Params, record: Record) -> None:
    """Tell of a new champion."""
    if record["promoted"]:
        text = f"{params.experiment}: {record['summary']}"
        figures = {key: record[key] for key in ("model", "version", "reason")}
        _harmless(
            lambda: notify(
                "promotion", text, display.say, _links(params, record["run_id"]), figures
            )
        )


def _export(params: Params, succeeded: bool) -> None:
    _harmless(lambda: export_outcome(params.experiment, succeeded))


def _harmless(tell: Callable[[], object]) -> None:
    """What cannot be told does not undo what was done."""
    try:
        tell()
    except Exception as error:
        display.say(f"[yellow]those who watch were not told: {escape(str(error))}")


def _scores(metrics: Mapping[str, Any]) -> str:
    shown = [s for s in ("test", "shifts") if s in metrics]
    told = [f"{s} {metrics[s]['soup']:.2%} ({100 * metrics[s]['gain']:+.2f})" for s in shown]
    return f": {', '.join(told)} over the best single model" if told else ""


def _links(params: Params, run_id: str) -> dict[str, str]:
    """The soup's run in MLflow's UI, if there is one and somebody to be told."""
    served = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    if not served or not os.environ.get(ADDRESS):
        return {}
    return {"soup": open_project(params).store().link(run_id)}
