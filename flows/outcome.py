"""How a pipeline run ended, told to those who watch: Prometheus and the webhook."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.exporter import export_outcome
from flows.stage import Record, display, open_project
from flows.webhook import notify
from soup.params import Params

Records = Mapping[str, Record]


@contextmanager
def told(params: Params) -> Iterator[Callable[[Records], None]]:
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
        soup, metrics = records["register"], _metrics(params)
        kept = len(records["cook"]["kept"])
        text = (
            f"{params.experiment}: the pipeline is done. {soup['summary']}. The "
            f"{records['cook']['recipe']} soup averages {kept}{_scores(metrics)}."
        )
        links = {"soup": _page(params, soup["run_id"])}
        notify("success", text, display.say, {k: v for k, v in links.items() if v}, metrics)


def promoted(params: Params, record: Record) -> None:
    """Tell of a new champion."""
    if record["promoted"]:
        text = f"{params.experiment}: {record['summary']}"
        page = _page(params, record["run_id"])
        figures = {key: record[key] for key in ("model", "version", "reason")}
        notify("promotion", text, display.say, {"soup": page} if page else {}, figures)


def _export(params: Params, succeeded: bool) -> None:
    try:
        export_outcome(params.experiment, succeeded)
    except OSError as error:
        display.say(f"[yellow]no figures for Prometheus: {error}")


def _metrics(params: Params) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((open_project(params).out / "metrics.json").read_text())
    return found


def _scores(metrics: Mapping[str, Any]) -> str:
    shown = [s for s in ("test", "shifts") if s in metrics]
    told = [f"{s} {metrics[s]['soup']:.2%} ({100 * metrics[s]['gain']:+.2f})" for s in shown]
    return f": {', '.join(told)} over the best single model" if told else ""


def _page(params: Params, run_id: str) -> str:
    """The run in MLflow's UI, if there is one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        return ""
    return open_project(params).store().link(run_id)
