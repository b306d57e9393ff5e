# MLflow: runs and the registry, in PostgreSQL; it passes artifacts on to S3 (or to the folder that
# S3 would serve), so that its clients need no credentials but its own.

mlflow_start() {
    local weights=s3://$S3_BUCKET
    has_s3 || { weights=$DIR/s3/$S3_BUCKET && mkdir -p "$weights"; }
    cat >"$DIR/mlflow-auth.ini" <<END
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = postgresql+psycopg://modelsoup:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/mlflow_auth
admin_username = modelsoup
admin_password = $MLFLOW_PASSWORD
# Hashing a password takes longer than most requests; one worker process has one cache.
auth_cache_ttl_seconds = 60
END
    MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://modelsoup:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/mlflow" \
        MLFLOW_AUTH_CONFIG_PATH=$DIR/mlflow-auth.ini \
        MLFLOW_FLASK_SERVER_SECRET_KEY=$MLFLOW_FLASK_SERVER_SECRET_KEY \
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true \
        MLFLOW_S3_ENDPOINT_URL=$S3_ENDPOINT AWS_DEFAULT_REGION=$S3_REGION \
        AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$S3_SECRET_ACCESS_KEY \
        launch mlflow mlflow server --host 127.0.0.1 --port "$MLFLOW_PORT" --workers 1 \
        --app-name basic-auth --serve-artifacts --artifacts-destination "$weights" \
        --allowed-hosts "127.0.0.1:$MLFLOW_PORT,localhost:$MLFLOW_PORT" \
        --expose-prometheus "$DIR/run/mlflow-metrics" --uvicorn-opts "--log-level warning"
}

mlflow_runs() { runs mlflow; }
mlflow_healthy() { answers "$MLFLOW_PORT" /health 200; }
mlflow_stop() { ! runs mlflow || { quit mlflow && echo "stopped mlflow"; }; }
mlflow_kill() { end mlflow; }
