#!/usr/bin/env bash
# MLflow and Prefect on what was run in this folder, on loopback, until Ctrl-C. Pages of other sites
# are refused by both. With a worker, Prefect wants a password: whoever can ask it runs commands here.
set -euo pipefail
cd "$(dirname "$0")/.."
mlflow_port=${MLFLOW_PORT:-5000} prefect_port=${PREFECT_PORT:-4200} logs=.cache/ui
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
export PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false
export PREFECT_HOME=${PREFECT_HOME:-$PWD/.prefect} PREFECT_API_URL=http://127.0.0.1:$prefect_port/api
# Without this, limits held when a server restarts stay taken for ever.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem

. infra/services/ports.sh
. infra/prefect/password.sh

for name in MLFLOW_PORT PREFECT_PORT; do # before the shell counts with them
    [[ ${!name:-1} =~ ^[1-9][0-9]{0,4}$ && ${!name:-1} -le 65535 ]] || {
        echo "error: $name is to be a port from 1 to 65535, not '${!name}'" >&2
        exit 2
    }
done
[ "$mlflow_port" != "$prefect_port" ] || {
    echo "error: MLflow and Prefect cannot both be at port $mlflow_port;" \
        "choose another: PREFECT_PORT=4201 make ${TARGET:-ui}" >&2
    exit 2
}

free() { # name port
    ! listens "$2" || {
        echo "error: port $2 is in use by $(holder "$2");" \
            "choose another: ${1^^}_PORT=$(($2 + 1)) make ${TARGET:-ui}" >&2
        exit 2
    }
}
healthy() { # name port path process
    local log=$logs/${1,,}.log
    for _ in $(seq 600); do
        if answers "$2" "$3" 200; then return; fi
        kill -0 "$4" 2>/dev/null || { echo "error: $1 ended; its log: $log" >&2; tail -5 "$log" >&2; exit 1; }
        sleep 0.5
    done
    echo "error: $1 does not answer at 127.0.0.1:$2; its log: $log" >&2
    exit 1
}

free mlflow "$mlflow_port"
free prefect "$prefect_port"
mkdir -p "$logs"
# Of earlier releases: copied before they are migrated, after which those releases refuse them.
python -m soup.older_databases mlflow mlflow.db prefect "$PREFECT_HOME/prefect.db"
pids=() worker=
# The worker first: without the server that it reports to, it takes more than a minute to end.
trap 'kill $worker 2>/dev/null && wait $worker || true; kill "${pids[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM
mlflow server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
    --backend-store-uri "sqlite:///$PWD/mlflow.db" --default-artifact-root "file://$PWD/mlruns" \
    --allowed-hosts "127.0.0.1:$mlflow_port,localhost:$mlflow_port" \
    --cors-allowed-origins "http://127.0.0.1:$mlflow_port,http://localhost:$mlflow_port" \
    >"$logs/mlflow.log" 2>&1 &
pids+=($!)
if [ "${1:-}" = worker ]; then
    # By the environment, for a command line can be read by everybody.
    auth=$(auth_string "$logs/env")
    write_reach "$logs/env" "$auth" "$prefect_port" "$mlflow_port"
    export PREFECT_API_AUTH_STRING=$auth
fi
(
    [ -z "${auth:-}" ] || export PREFECT_SERVER_API_AUTH_STRING=$auth
    export PREFECT_SERVER_API_HOST=127.0.0.1 PREFECT_SERVER_API_PORT=$prefect_port
    export PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:$prefect_port,http://localhost:$prefect_port
    export PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL=WARNING
    exec python -m uvicorn flows.server.asgi:app --host 127.0.0.1 --port "$prefect_port" \
        --log-level warning
) >"$logs/prefect.log" 2>&1 &
pids+=($!)
echo "starting MLflow and Prefect (logs in $logs) ..."
healthy MLflow "$mlflow_port" /health "${pids[0]}"
healthy Prefect "$prefect_port" /api/health "${pids[1]}"
# The runs of the experiment in params.yaml, with their accuracies as columns; or all experiments.
named=$(sed -n 's/^experiment: *\([A-Za-z0-9_.-]*\).*/\1/p' params.yaml)
found=$(answer "$mlflow_port" "/api/2.0/mlflow/experiments/get-by-name?experiment_name=$named" |
    grep -o '"experiment_id": *"[0-9]*"' | grep -o '[0-9]*' || true)
page=experiments${found:+/$found/runs}?workflowType=machine_learning${found:+&viewStateShareKey=modelsoup}
echo "MLflow   http://127.0.0.1:$mlflow_port/#/$page"
echo "Prefect  http://127.0.0.1:$prefect_port"
if [ "${1:-}" = worker ]; then
    infra/prefect/deploy.sh
    set -m # else it would inherit that SIGINT is ignored, which is how a worker ends itself
    # Asking is cheap on loopback, and a run that was asked for starts sooner.
    MLFLOW_TRACKING_URI=http://127.0.0.1:$mlflow_port MODELSOUP_ROOT=$PWD \
        PREFECT_WORKER_QUERY_SECONDS=${PREFECT_WORKER_QUERY_SECONDS:-3} \
        prefect worker start --pool local --limit 1 >"$logs/worker.log" 2>&1 &
    worker=$!
    set +m
    echo "Deployed pipeline/local and more (docs/deployments.md), with a worker. Run it from the page, or:"
    echo "  . $logs/env && .venv/bin/prefect deployment run pipeline/local --watch"
    echo "Prefect's page asks for a password: what follows PREFECT_API_AUTH_STRING= in $logs/env."
fi
echo "Ctrl-C stops them."
wait -n
