#!/usr/bin/env bash
# MLflow and Prefect on what was run in this folder, on loopback, until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
mlflow_port=${MLFLOW_PORT:-5000} prefect_port=${PREFECT_PORT:-4200} logs=.cache/ui
mkdir -p "$logs"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
export PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false
export PREFECT_HOME=${PREFECT_HOME:-$PWD/.prefect} PREFECT_API_URL=http://127.0.0.1:$prefect_port/api
# Without this, limits held when a server restarts stay taken for ever.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem

free() { # name port
    if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
        echo "error: port $2 is in use; choose another: ${1^^}_PORT=$(($2 + 1)) make ${TARGET:-ui}" >&2
        exit 2
    fi
}
healthy() { # name url process log
    for _ in $(seq 180); do
        if python -c "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)" "$2" 2>/dev/null; then return; fi
        kill -0 "$3" 2>/dev/null || { echo "error: $1 ended; its log: $4" >&2; tail -5 "$4" >&2; exit 1; }
        sleep 1
    done
    echo "error: $1 does not answer at $2; its log: $4" >&2
    exit 1
}

free mlflow "$mlflow_port"
free prefect "$prefect_port"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM
mlflow server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
    --backend-store-uri "sqlite:///$PWD/mlflow.db" --default-artifact-root "file://$PWD/mlruns" \
    >"$logs/mlflow.log" 2>&1 &
pids+=($!)
prefect server start --host 127.0.0.1 --port "$prefect_port" >"$logs/prefect.log" 2>&1 &
pids+=($!)
echo "starting MLflow and Prefect (logs in $logs) ..."
healthy MLflow "http://127.0.0.1:$mlflow_port/health" "${pids[0]}" "$logs/mlflow.log"
healthy Prefect "http://127.0.0.1:$prefect_port/api/health" "${pids[1]}" "$logs/prefect.log"
echo "MLflow   http://127.0.0.1:$mlflow_port/#/experiments?workflowType=machine_learning"
echo "Prefect  http://127.0.0.1:$prefect_port"
if [ "${1:-}" = worker ]; then
    infra/prefect/deploy.sh
    MLFLOW_TRACKING_URI=http://127.0.0.1:$mlflow_port MODELSOUP_ROOT=$PWD \
        prefect worker start --pool local --limit 1 >"$logs/worker.log" 2>&1 &
    pids+=($!)
    echo "Deployed pipeline/local and more (docs/deployments.md), with a worker. Run it from the page, or:"
    echo "  PREFECT_API_URL=$PREFECT_API_URL .venv/bin/prefect deployment run pipeline/local --watch"
fi
echo "Ctrl-C stops them."
wait -n
