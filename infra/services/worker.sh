# One worker on this machine, with the deployments of prefect.yaml for it.

worker_start() {
    MLFLOW_USER_PASSWORD=$MLFLOW_WORKER_PASSWORD as_admin python infra/mlflow/user.py worker EDIT \
        >"$DIR/logs/worker-user.log" 2>&1 ||
        fail "the worker gets no MLflow user; the log: $DIR/logs/worker-user.log"
    hand_over worker "$DIR/prefect"
    (
        . "$DIR/worker-env" # its own credentials: neither PostgreSQL's nor S3's
        export PREFECT_HOME=$DIR/prefect MODELSOUP_ROOT=$PWD PYTHONPATH=$PWD
        infra/prefect/deploy.sh >"$DIR/logs/deploy.log" 2>&1 || {
            tail -20 "$DIR/logs/deploy.log" >&2
            fail "cannot deploy; the log: $DIR/logs/deploy.log"
        }
        # Asking is cheap on loopback, and a run that was asked for starts sooner. It ends when the
        # server is away for long, and is wanted again when that is back.
        PREFECT_WORKER_QUERY_SECONDS=${PREFECT_WORKER_QUERY_SECONDS:-3} launch worker bash -c \
            'trap exit TERM; while :; do prefect worker start --pool local --limit 1; sleep 5; done'
    )
}

worker_runs() { runs worker; }
worker_healthy() {
    answer "$PREFECT_PORT" /api/work_pools/local "modelsoup:$PREFECT_PASSWORD" | grep -q '"status":"READY"'
}
worker_stop() { ! runs worker || { quit worker && echo "stopped worker"; }; }
worker_kill() { end worker; }
