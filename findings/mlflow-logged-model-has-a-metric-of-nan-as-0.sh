#!/usr/bin/env bash
# mlflow 3.17.2: a metric of NaN that is logged for a model (log_metric with model_id) is 0.0 for it.
#
# A database has 0 and a flag for NaN. The table of a run's metrics has the flag; that of a logged
# model's metrics, which is written by the same call, has not. So the run says nan, its model says 0.0,
# and mlflow.search_logged_models gives the model that diverged as the best one by its loss: first in
# ascending order, and among those of `metrics.loss < 0.5`. Of runs, the same search leaves it out.
# Expected: nan, last in any order and in no range, as for runs. To log no NaN with a model_id avoids it.
#
# Seen (two runs with a model each, of loss 0.3 and nan, in SQLite):
#   loss of the run: nan, of its model: 0.0
#   by loss, runs: good diverged, models: diverged good
#   loss < 0.5, runs: good, models: diverged good
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check mlflow==3.17.2 2>/dev/null
cat > search.py <<'PYTHON'
import math

import mlflow

mlflow.set_tracking_uri("sqlite:///mlflow.db")
for name, loss in {"good": 0.3, "diverged": math.nan}.items():
    with mlflow.start_run(run_name=name):
        model = mlflow.initialize_logged_model(name=name)
        mlflow.log_metric("loss", loss, step=1, model_id=model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")


def runs(**query):
    return [run.info.run_name for run in mlflow.search_runs(output_format="list", **query)]


def models(**query):
    return [found.name for found in mlflow.search_logged_models(output_format="list", **query)]


run = mlflow.search_runs(filter_string="run_name = 'diverged'", output_format="list")[0]
(of_model,) = mlflow.get_logged_model(model.model_id).metrics
print(f"loss of the run: {run.data.metrics['loss']}, of its model: {of_model.value}")
ascending = [{"field_name": "metrics.loss", "ascending": True}]
print("by loss, runs:", *runs(order_by=["metrics.loss ASC"]), end=", ")
print("models:", *models(order_by=ascending))
print("loss < 0.5, runs:", *runs(filter_string="metrics.loss < 0.5"), end=", ")
print("models:", *models(filter_string="metrics.loss < 0.5", order_by=ascending))
PYTHON
environment/bin/python search.py 2>log | tee seen || { cat log; exit 1; }
diff - seen <<'EXPECTED'
loss of the run: nan, of its model: 0.0
by loss, runs: good diverged, models: diverged good
loss < 0.5, runs: good, models: diverged good
EXPECTED
