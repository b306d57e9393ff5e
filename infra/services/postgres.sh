# PostgreSQL: what MLflow and Prefect know. TCP on loopback with a password; no socket.

pg() { # program arguments...: as an ordinary user, for it refuses to run as root
    local program=$1 bin
    shift
    bin=$(pg_bin)
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$bin/$program" "$@")
    else
        "$bin/$program" "$@"
    fi
}

pg_bin() { # of the newest version that is installed; Debian keeps the servers off the PATH
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
    [ -d "$found" ] || found=$(dirname "$(command -v pg_ctl || true)")
    [ -x "$found/initdb" ] || fail "PostgreSQL is not installed: apt-get install postgresql"
    echo "$found"
}

sql() { # user password database statement: what is answered
    PGPASSWORD=$2 "$(pg_bin)/psql" --no-psqlrc --quiet --tuples-only --no-align \
        --host 127.0.0.1 --port "$POSTGRES_PORT" --username "$1" --dbname "$3" --command "$4"
}

postgres_start() {
    local data=$DIR/postgres bin made has
    bin=$(pg_bin)
    has=$("$bin/postgres" --version | grep -oE '[0-9]+' | head -1)
    touch "$DIR/logs/postgres.log"
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$DIR" "$DIR/logs" && chown postgres "$DIR/logs/postgres.log"
        (cd / && runuser -u postgres -- test -x "$DIR") ||
            fail "PostgreSQL does not run as root, and its user postgres cannot reach $DIR;" \
                "let it (chmod o+x on the folders above), or set SERVICES_DIR to another folder"
    fi
    [ -d "$data" ] || make_cluster "$data"
    made=$(cat "$data/PG_VERSION")
    [ "$made" = "$has" ] || fail "$data was made by PostgreSQL $made, but $has is installed:" \
        "install $made, or move the data with pg_upgrade"
    until pg pg_ctl start --silent --timeout 300 --pgdata "$data" --log "$DIR/logs/postgres.log" \
        --options "-p $POSTGRES_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories='' \
            -c max_connections=$POSTGRES_MAX_CONNECTIONS" \
        8>&- >/dev/null 2>&1; do
        # After a crash the processes of its connections take a moment to notice.
        tail -3 "$DIR/logs/postgres.log" | grep -q "shared memory block" ||
            fail "PostgreSQL does not start; its log: $DIR/logs/postgres.log"
        sleep 0.5
    done
}

make_cluster() { # folder: whole or not at all
    local new=$1.new password=$DIR/run/password
    rm -rf "$new" && mkdir "$new"
    printf %s "$POSTGRES_PASSWORD" >"$password"
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$DIR/run" && chown postgres "$new" "$password"
    fi
    pg initdb --pgdata "$new" --username modelsoup --pwfile "$password" --auth scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 >>"$DIR/logs/initdb.log" 2>&1 ||
        fail "initdb failed; its log: $DIR/logs/initdb.log"
    rm "$password" && mv "$new" "$1"
}

postgres_runs() { [ -d "$DIR/postgres" ] && pg pg_ctl status --pgdata "$DIR/postgres" >/dev/null; }

postgres_healthy() { # each server's role reaches its database; they are made if need be
    roles_healthy || {
        sql modelsoup "$POSTGRES_PASSWORD" postgres "select 1" >/dev/null 2>&1 || return 1
        PGHOST=127.0.0.1 PGPORT=$POSTGRES_PORT PGUSER=modelsoup PGPASSWORD=$POSTGRES_PASSWORD \
            MLFLOW_DATABASE_PASSWORD=$MLFLOW_DATABASE_PASSWORD \
            PREFECT_DATABASE_PASSWORD=$PREFECT_DATABASE_PASSWORD PATH="$(pg_bin):$PATH" \
            bash infra/postgres/databases.sh mlflow_auth >"$DIR/logs/databases.log" 2>&1 ||
            fail "the databases cannot be made; the log: $DIR/logs/databases.log"
        roles_healthy
    }
}

roles_healthy() {
    sql mlflow "$MLFLOW_DATABASE_PASSWORD" mlflow "select 1" &&
        sql mlflow "$MLFLOW_DATABASE_PASSWORD" mlflow_auth "select 1" &&
        sql prefect "$PREFECT_DATABASE_PASSWORD" prefect "select 1"
} >/dev/null 2>&1

postgres_stop() {
    postgres_runs || return 0
    pg pg_ctl stop --silent --wait --mode fast --pgdata "$DIR/postgres" >/dev/null
    echo "stopped postgres"
}

postgres_kill() { # its backends notice, and end
    local pid
    postgres_runs || return 0
    pid=$(head -1 "$DIR/postgres/postmaster.pid")
    kill -KILL "$pid"
    while kill -0 "$pid" 2>/dev/null || listens "$POSTGRES_PORT"; do sleep 0.1; done
}
