# Where things are, on which ports and with which credentials. What the environment does not say is
# as it was at the last start, which is written down in $DIR/settings. Values are data: none is run.
umask 077
DIR=${SERVICES_DIR:-$PWD/.services}
NAMES=(POSTGRES_PORT S3_PORT MLFLOW_PORT PREFECT_PORT
    S3_BUCKET S3_REGION S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY
    POSTGRES_PASSWORD MLFLOW_DATABASE_PASSWORD PREFECT_DATABASE_PASSWORD
    MLFLOW_PASSWORD MLFLOW_WORKER_PASSWORD PREFECT_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY)

fail() {
    echo "error: $*" >&2
    exit 2
}

secret() { head -c 30 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9' | head -c 32; }

read_settings() { # file names...: NAME=value lines; those of the names that are not set yet
    local file=$1 line name value names
    shift
    names=" $* "
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ $line =~ ^:\ \"\$\{([A-Z0-9_]+):=(.*)\}\"$ ]]; then # as earlier versions wrote it
            name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        elif [[ $line =~ ^([A-Z0-9_]+)=(.*)$ ]]; then
            name=${BASH_REMATCH[1]}
            printf -v value %b "${BASH_REMATCH[2]}" # \n and \\, as `remember_settings` writes them
        else
            continue
        fi
        [[ $names != *" $name "* ]] || [ -n "${!name:-}" ] || printf -v "$name" %s "$value"
    done <"$file"
}

quoted() { # value: for a shell that sources it, which runs nothing in single quotes
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

[ ! -f "$DIR/settings" ] || read_settings "$DIR/settings" "${NAMES[@]}" S3_ENDPOINT
OWN_S3=${S3_ENDPOINT:-} # where the user has an S3 of his own
: "${POSTGRES_PORT:=15432}" "${S3_PORT:=9000}" "${MLFLOW_PORT:=5000}" "${PREFECT_PORT:=4200}"
for port in POSTGRES_PORT S3_PORT MLFLOW_PORT PREFECT_PORT; do
    [[ ${!port} =~ ^[0-9]{1,5}$ ]] || fail "$port is '${!port}', which is no port; give it a number"
done
[[ ! ${S3_ENDPOINT:-} =~ ://[^/]*@ ]] || fail "S3_ENDPOINT holds a password, which would be shown;" \
    "give the address without it, and S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"
: "${S3_ENDPOINT:=http://127.0.0.1:$S3_PORT}" "${S3_BUCKET:=mlflow}" "${S3_REGION:=us-east-1}"
: "${S3_ACCESS_KEY_ID:=modelsoup}" "${S3_SECRET_ACCESS_KEY:=$(secret)}"
: "${POSTGRES_PASSWORD:=$(secret)}" "${MLFLOW_PASSWORD:=$(secret)}" "${PREFECT_PASSWORD:=$(secret)}"
: "${MLFLOW_DATABASE_PASSWORD:=$(secret)}" "${PREFECT_DATABASE_PASSWORD:=$(secret)}"
: "${MLFLOW_WORKER_PASSWORD:=$(secret)}" "${MLFLOW_FLASK_SERVER_SECRET_KEY:=$(secret)}"
# No service inherits what is another's: neither from here, nor from a shell that sourced an env file.
export -n "${NAMES[@]}"
unset "${!PG@}" MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD PREFECT_API_AUTH_STRING
[ "${AWS_SECRET_ACCESS_KEY:-}" != "$S3_SECRET_ACCESS_KEY" ] ||
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
# Sizes that belong together; the environment may say others.
LIMITS=(MLFLOW_SQLALCHEMYSTORE_POOL_SIZE MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW
    MLFLOW_WORKERS POSTGRES_MAX_CONNECTIONS)
read_settings "${BASH_SOURCE[0]%/*}/../connections/connections.env" "${LIMITS[@]}"

remember_settings() {
    mkdir -p "$DIR/logs" "$DIR/run"
    local name value
    for name in "${NAMES[@]}" ${OWN_S3:+S3_ENDPOINT}; do
        value=${!name//\\/\\\\}
        printf '%s=%s\n' "$name" "${value//$'\n'/\\n}"
    done >"$DIR/settings"
}

export_lines() { # NAME value...: lines for a file that is sourced
    while [ $# -gt 0 ]; do
        printf 'export %s=%s\n' "$1" "$(quoted "$2")"
        shift 2
    done
}

client_env() { # user password: what a client of MLflow and Prefect needs
    export_lines MLFLOW_TRACKING_URI "http://127.0.0.1:$MLFLOW_PORT" \
        MLFLOW_TRACKING_USERNAME "$1" MLFLOW_TRACKING_PASSWORD "$2" \
        PREFECT_API_URL "http://127.0.0.1:$PREFECT_PORT/api" \
        PREFECT_API_AUTH_STRING "modelsoup:$PREFECT_PASSWORD" \
        MLFLOW_DISABLE_TELEMETRY true PREFECT_SERVER_ANALYTICS_ENABLED false \
        DO_NOT_TRACK 1 DVC_NO_ANALYTICS 1
}

write_env() { # a file for each who needs credentials, with no others in it
    {
        client_env modelsoup "$MLFLOW_PASSWORD"
        ! has_s3 || export_lines AWS_ENDPOINT_URL_S3 "$S3_ENDPOINT" AWS_DEFAULT_REGION "$S3_REGION" \
            AWS_ACCESS_KEY_ID "$S3_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY "$S3_SECRET_ACCESS_KEY"
    } >"$DIR/env"
    client_env worker "$MLFLOW_WORKER_PASSWORD" >"$DIR/worker-env"
    export_lines PGHOST 127.0.0.1 PGPORT "$POSTGRES_PORT" PGUSER modelsoup \
        PGPASSWORD "$POSTGRES_PASSWORD" >"$DIR/psql-env"
}

one_at_a_time() {
    mkdir -p "$DIR"
    exec 8>"$DIR/lock"
    flock -w 600 8 || fail "another infra/services.sh works in $DIR for 10 minutes already"
}
