# Where things are, on which ports and with which credentials. What the environment does not say is
# as it was at the last start, which is written down in $DIR/settings.
umask 077
DIR=${SERVICES_DIR:-$PWD/.services}
NAMES=(POSTGRES_PORT S3_PORT MLFLOW_PORT PREFECT_PORT
    S3_BUCKET S3_REGION S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY
    POSTGRES_PASSWORD MLFLOW_PASSWORD PREFECT_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY)

fail() {
    echo "error: $*" >&2
    exit 2
}

secret() { head -c 30 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9' | head -c 32; }

[ ! -f "$DIR/settings" ] || . "$DIR/settings"
OWN_S3=${S3_ENDPOINT:-} # where the user has an S3 of his own
: "${POSTGRES_PORT:=15432}" "${S3_PORT:=9000}" "${MLFLOW_PORT:=5000}" "${PREFECT_PORT:=4200}"
: "${S3_ENDPOINT:=http://127.0.0.1:$S3_PORT}" "${S3_BUCKET:=mlflow}" "${S3_REGION:=us-east-1}"
: "${S3_ACCESS_KEY_ID:=modelsoup}" "${S3_SECRET_ACCESS_KEY:=$(secret)}"
: "${POSTGRES_PASSWORD:=$(secret)}" "${MLFLOW_PASSWORD:=$(secret)}" "${PREFECT_PASSWORD:=$(secret)}"
: "${MLFLOW_FLASK_SERVER_SECRET_KEY:=$(secret)}"

remember_settings() {
    mkdir -p "$DIR/logs" "$DIR/run"
    local name
    for name in "${NAMES[@]}" ${OWN_S3:+S3_ENDPOINT}; do
        printf ': "${%s:=%s}"\n' "$name" "${!name}"
    done >"$DIR/settings"
}

write_env() {
    cat >"$DIR/env" <<END
export MLFLOW_TRACKING_URI=http://127.0.0.1:$MLFLOW_PORT
export MLFLOW_TRACKING_USERNAME=modelsoup
export MLFLOW_TRACKING_PASSWORD=$MLFLOW_PASSWORD
export PREFECT_API_URL=http://127.0.0.1:$PREFECT_PORT/api
export PREFECT_API_AUTH_STRING=modelsoup:$PREFECT_PASSWORD
# For psql; the databases are mlflow, mlflow_auth and prefect.
export PGHOST=127.0.0.1 PGPORT=$POSTGRES_PORT PGUSER=modelsoup PGPASSWORD=$POSTGRES_PASSWORD
export MLFLOW_DISABLE_TELEMETRY=true PREFECT_SERVER_ANALYTICS_ENABLED=false
export DO_NOT_TRACK=1 DVC_NO_ANALYTICS=1
END
    ! has_s3 || cat >>"$DIR/env" <<END
export AWS_ENDPOINT_URL_S3=$S3_ENDPOINT
export AWS_DEFAULT_REGION=$S3_REGION
export AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY_ID
export AWS_SECRET_ACCESS_KEY=$S3_SECRET_ACCESS_KEY
END
}

one_at_a_time() {
    mkdir -p "$DIR"
    exec 8>"$DIR/lock"
    flock -w 600 8 || fail "another infra/services.sh works in $DIR for 10 minutes already"
}
