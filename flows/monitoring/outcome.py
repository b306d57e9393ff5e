"""Report how a pipeline run ended, to Prometheus and the webhook."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.monitoring.prometheus import export_outcome
from flows.monitoring.webhook import ADDRESS, notify
from flows.project import Record, open_project, say
from soup.config.params import Params
from soup.evaluation.score_text import ACCURACY, score_text
from soup.pipeline.stage_record import read_record

Records = Mapping[str, Record]


@contextmanager
def report_outcome(params: Params) -> Iterator[Callable[[Records], None]]:
    """Run the pipeline within, and report how it ended.

    Yields:
        A function, to be called with the records of the stages when the pipeline is done.
    """
    succeeded: list[Records] = []
    try:
        yield succeeded.append
    except BaseException as error:
        reason = str(error) or type(error).__name__
        _harmless(lambda: export_outcome(params.experiment, succeeded=False))
        text = f"{params.experiment}: the pipeline failed: {reason}"
        notify("failure", text[:3000], say, figures={"error": type(error).__name__})
        raise
    _harmless(lambda: export_outcome(params.experiment, succeeded=True))
    for records in succeeded:
        _harmless(lambda records=records: _success(params, records))  # type: ignore[misc]


def _success(params: Params, records: Records) -> None:
    soup = records["register"]
    out = open_project(params).out
    metrics, scores = (read_record(out / f"{name}.json") for name in ("metrics", "scores"))
    score = records["cook"].get("score", ACCURACY)
    names = {split: score if score in scores.get(split, {}) else ACCURACY for split in metrics}
    text = (
        f"{params.experiment}: the pipeline is done. {soup['summary']}. "
        f"The {records['cook']['recipe']} soup averages {len(records['cook']['kept'])}"
        f"{_scores(metrics, names)}."
    )
    notify("success", text, say, _links(params, soup["run_id"]), metrics)


def promoted(params: Params, record: Record) -> None:
    """Report the new champion, if the version that was registered became one."""
    if record["promoted"]:
        text = f"{params.experiment}: {record['summary']}"
        figures = {key: record[key] for key in ("model", "version", "reason")}
        _harmless(lambda: notify("promotion", text, say, _links(params, record["run_id"]), figures))


def _harmless(tell: Callable[[], object]) -> None:
    """Report, but let no error of that end the run that is reported."""
    try:
        tell()
    except Exception as error:
        say(f"those who watch were not told: {error}", style="yellow")


def _scores(metrics: Mapping[str, Any], names: Mapping[str, str]) -> str:
    scores = [
        f"{split} {score_text(names[split], metrics[split]['soup'])} "
        f"({100 * metrics[split]['gain']:+.2f})"
        for split in ("test", "shifts")
        if split in metrics
    ]
    return f": {', '.join(scores)} over the best single model" if scores else ""


def _links(params: Params, run_id: str) -> dict[str, str]:
    """The soup's run in MLflow's UI, if MLflow has a server and the webhook an address."""
    link = open_project(params).store().link(run_id) if os.environ.get(ADDRESS) else ""
    return {"soup": link} if link else {}
