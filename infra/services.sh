#!/usr/bin/env bash
# PostgreSQL, S3, MLflow, Prefect and a worker on this machine, on loopback, without containers.
# infra/README.md says what runs where; a user of the services sources .services/env.
set -euo pipefail
cd "$(dirname "$0")/.."
here=infra/services
# shellcheck source-path=SCRIPTDIR
. "$here/settings.sh"
. "$here/ports.sh"
. "$here/user.sh"
. "$here/processes.sh"
. "$here/postgres.sh"
. "$here/s3.sh"
. "$here/mlflow.sh"
. "$here/prefect.sh"
. "$here/worker.sh"
ALL=(postgres s3 mlflow prefect worker)
USED=("${ALL[@]}")
has_s3 || USED=(postgres mlflow prefect worker)

usage() {
    cat <<END
usage: infra/services.sh up | down | status | restart NAME | stop NAME | kill NAME
  up       start what does not run; a second time, nothing
  down     stop all; what they hold stays
  restart  stop one in good order and start it again
  kill     end one at once, as a crash does
names: ${ALL[*]}; settings and data are in \$SERVICES_DIR ($DIR)
END
}

start() { # names...: all at once, each with what it needs running before it
    local name
    for name in "$@"; do
        "${name}_start"
        echo "starting $name (log: $DIR/logs/$name.log)"
    done
    for name in "$@"; do await "$name"; done
}

down_of() { # names...: those of them that are used and do not run
    local name
    for name in "${USED[@]}"; do
        [[ " $* " != *" $name "* ]] || "${name}_runs" || echo "$name"
    done
}

up() {
    remember_settings
    local missing
    mapfile -t missing < <(down_of "${ALL[@]}")
    check_ports "${missing[@]}"
    [ -z "$OWN_S3" ] || own_bucket
    check_users
    write_env
    if [ ${#missing[@]} = 0 ]; then
        echo "all services run already"
    else
        # PostgreSQL and S3 first: the servers look at both as they start.
        local stage
        for stage in "postgres s3" "mlflow prefect" worker; do
            # shellcheck disable=SC2086
            mapfile -t missing < <(down_of $stage)
            [ ${#missing[@]} = 0 ] || start "${missing[@]}"
        done
    fi
    addresses
}

stored() {
    if has_s3; then
        echo "S3          $S3_ENDPOINT (bucket $S3_BUCKET)"
    else
        echo "Weights     $DIR/s3/$S3_BUCKET, a folder without S3"
        echo "            ($(why_no_s3))"
    fi
}

addresses() {
    cat <<END

MLflow      http://127.0.0.1:$MLFLOW_PORT/#/experiments?workflowType=machine_learning
Prefect     http://127.0.0.1:$PREFECT_PORT
$(stored)
PostgreSQL  127.0.0.1:$POSTGRES_PORT (source $DIR/psql-env)
User modelsoup; the passwords are in $DIR/env. Others get their own: infra/mlflow_user.sh NAME

Use them    source $DIR/env
Run         .venv/bin/prefect deployment run pipeline/local --watch
Stop        make services-down
END
}

status() {
    local name wrong=0
    for name in "${USED[@]}"; do
        if ! "${name}_runs"; then
            echo "$name is down" && wrong=1
        elif ! "${name}_healthy"; then
            echo "$name runs, but does not answer; its log: $DIR/logs/$name.log" && wrong=1
        else
            echo "$name runs"
        fi
    done
    return "$wrong"
}

down() {
    local i
    for ((i = ${#ALL[@]} - 1; i >= 0; i--)); do "${ALL[i]}_stop"; done
    echo "all services are stopped; what they hold is in $DIR"
}

named() {
    local name
    for name in "${ALL[@]}"; do [ "$name" != "${1:-}" ] || return 0; done
    fail "there is no service '${1:-}'; there are ${ALL[*]}"
}

case "${1:-}" in
    up | down | status) one_at_a_time && "$1" ;;
    restart) named "${2:-}" && one_at_a_time && "${2}_stop" && check_ports "$2" && start "$2" ;;
    stop | kill) named "${2:-}" && one_at_a_time && "${2}_$1" ;;
    *) usage && exit 2 ;;
esac
