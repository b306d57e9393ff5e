#!/usr/bin/env bash
# mlflow 3.17.2: a filter of search_logged_models takes a metric's value at any step; search_runs, and
# the order of search_logged_models, take the latest.
#
# Log a metric of a model along a fine-tune, and it is found by each value that it ever had: a model
# whose accuracy was 0.95 and fell to 0.5 passes `metrics.acc > 0.9`, and also passes `metrics.acc > 0.9
# AND metrics.acc < 0.6`, which no number does. In the order by the same metric it stands where 0.5
# belongs. The documentation says that a filter considers any data set, and nothing of steps. Expected:
# the latest value, as for runs. To log one step for a model, or to filter what is found, avoids it.
#
# Seen (accuracies of two models, and of their runs: "fell" 0.95, 0.5; "rose" 0.7, 0.8):
#   acc > 0.9: runs none, models fell
#   acc > 0.9 AND acc < 0.6: runs none, models fell
#   by acc, falling: runs rose fell, models rose fell
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check mlflow==3.17.2 2>/dev/null
cat > search.py <<'PYTHON'
import mlflow

mlflow.set_tracking_uri("sqlite:///mlflow.db")
for name, accuracies in {"fell": (0.95, 0.5), "rose": (0.7, 0.8)}.items():
    with mlflow.start_run(run_name=name):
        model = mlflow.initialize_logged_model(name=name)
        for step, accuracy in enumerate(accuracies):
            now = 1_000_000 + 1000 * step
            mlflow.log_metric("acc", accuracy, step, timestamp=now, model_id=model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")


def show(title, runs, models):
    found = mlflow.search_runs(output_format="list", **runs)
    named = [run.info.run_name for run in found]
    print(f"{title}: runs", *(named or ["none"]), end=", ")
    found = mlflow.search_logged_models(output_format="list", **models)
    print("models", *([model.name for model in found] or ["none"]))


for wanted in ("acc > 0.9", "acc > 0.9 AND acc < 0.6"):
    query = {"filter_string": wanted.replace("acc", "metrics.acc")}
    show(wanted, query, query)
falling = [{"field_name": "metrics.acc", "ascending": False}]
show("by acc, falling", {"order_by": ["metrics.acc DESC"]}, {"order_by": falling})
PYTHON
environment/bin/python search.py 2>log | tee seen || { cat log; exit 1; }
diff - seen <<'EXPECTED'
acc > 0.9: runs none, models fell
acc > 0.9 AND acc < 0.6: runs none, models fell
by acc, falling: runs rose fell, models rose fell
EXPECTED
