# MLflow: runs and the registry, in PostgreSQL; it passes artifacts on to S3 (or to the folder that
# S3 would serve), so that its clients need no credentials but its own.

mlflow_start() {
    local weights=s3://$S3_BUCKET
    has_s3 || weights=$DIR/s3/$S3_BUCKET
    mkdir -p "$DIR/run/mlflow" "$DIR/s3/$S3_BUCKET"
    # No password in it or in an address: libpq and MLflow take them from the environment.
    cat >"$DIR/run/mlflow/auth.ini" <<END
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = postgresql+psycopg:///mlflow_auth
# Hashing a password takes longer than most requests; this one process forgets at once
# what is changed or deleted.
auth_cache_ttl_seconds = 600
END
    rm -f "$DIR/mlflow-auth.ini" # of earlier versions, with passwords
    hand_over mlflow "$DIR/run/mlflow" "$DIR/run/mlflow-metrics" "$DIR/s3"
    PGHOST=127.0.0.1 PGPORT=$POSTGRES_PORT PGUSER=mlflow PGPASSWORD=$MLFLOW_DATABASE_PASSWORD \
        MLFLOW_BACKEND_STORE_URI=postgresql+psycopg:///mlflow \
        MLFLOW_AUTH_CONFIG_PATH=$DIR/run/mlflow/auth.ini \
        MLFLOW_AUTH_ADMIN_USERNAME=modelsoup MLFLOW_AUTH_ADMIN_PASSWORD=$MLFLOW_PASSWORD \
        MLFLOW_FLASK_SERVER_SECRET_KEY=$MLFLOW_FLASK_SERVER_SECRET_KEY \
        MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=$MLFLOW_SQLALCHEMYSTORE_POOL_SIZE \
        MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=$MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW \
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true \
        MLFLOW_S3_ENDPOINT_URL=$S3_ENDPOINT AWS_DEFAULT_REGION=$S3_REGION \
        AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$S3_SECRET_ACCESS_KEY \
        launch mlflow mlflow server --host 127.0.0.1 --port "$MLFLOW_PORT" \
        --workers "$MLFLOW_WORKERS" \
        --app-name basic-auth --serve-artifacts --artifacts-destination "$weights" \
        --allowed-hosts "127.0.0.1:$MLFLOW_PORT,localhost:$MLFLOW_PORT" \
        --expose-prometheus "$DIR/run/mlflow-metrics" --uvicorn-opts "--log-level warning"
}

as_admin() { # command...: as MLflow's administrator
    MLFLOW_TRACKING_URI=http://127.0.0.1:$MLFLOW_PORT MLFLOW_TRACKING_USERNAME=modelsoup \
        MLFLOW_TRACKING_PASSWORD=$MLFLOW_PASSWORD "$@"
}

mlflow_runs() { runs mlflow; }
mlflow_healthy() { # /health alone says 200 while every request waits for a connection
    answers "$MLFLOW_PORT" /health 200 && as_admin python infra/mlflow/health.py >/dev/null 2>&1
}
mlflow_stop() { ! runs mlflow || { quit mlflow && echo "stopped mlflow"; }; }
mlflow_kill() { end mlflow; }
