"""Whether MLflow can write: `python health.py`, of the server that MLFLOW_TRACKING_URI names.

MLflow's own /health answers 200 even when all requests wait for database connections. This program
logs a metric and a tag in one batch, which takes two connections like the batches of clients, and
reads the metric back. It exits with 0, or prints the reason on stderr. rest.py chooses the user.
"""

import sys
import time
import urllib.parse

from rest import Refused, ask

EXPERIMENT = "health-check"


def run() -> str:
    """The id of the run to which all checks write; the run is made if it is missing."""
    query = urllib.parse.urlencode({"experiment_name": EXPERIMENT})
    try:
        known = ask(f"experiments/get-by-name?{query}")["experiment"]["experiment_id"]
    except Refused as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = ask("experiments/create", {"name": EXPERIMENT})["experiment_id"]
    runs = ask("runs/search", {"experiment_ids": [known], "max_results": 1}).get("runs")
    if runs:
        return str(runs[0]["info"]["run_id"])
    made = ask("runs/create", {"experiment_id": known, "run_name": EXPERIMENT})
    run_id = str(made["run"]["info"]["run_id"])
    ask("runs/update", {"run_id": run_id, "status": "FINISHED"})  # else it would look as if it ran
    return run_id


def write() -> None:
    """Log a metric and a tag, and read the metric back.

    Raises:
        Refused: writing or reading failed.
    """
    run_id, now = run(), int(time.time() * 1000)
    metric = {"key": "written", "value": now, "timestamp": now, "step": 0}
    tag = {"key": "written", "value": str(now)}
    ask("runs/log-batch", {"run_id": run_id, "metrics": [metric], "tags": [tag]})
    data = ask(f"runs/get?run_id={run_id}")["run"]["data"]
    there = [m["value"] for m in data.get("metrics", []) if m["key"] == "written"]
    if not there or there[0] < now:  # another check may have written a later one
        raise Refused("a metric that was accepted is not there")


if __name__ == "__main__":
    try:
        write()
    except (Refused, KeyError) as error:
        sys.exit(f"MLflow cannot be written to: {error}")
