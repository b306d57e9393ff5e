# Processes that outlive this script. Each carries a mark in its environment and hands it down, by
# which it is known again: a process id alone may long be another's.

mark() { echo "MODELSOUP_SERVICE=$DIR/$1"; }

marked() { # name: the ids of all processes of a service
    local environ
    for environ in /proc/[0-9]*/environ; do
        if tr '\0' '\n' 2>/dev/null <"$environ" | grep -qxF "$(mark "$1")"; then
            environ=${environ#/proc/} && echo "${environ%/environ}"
        fi
    done 2>/dev/null
}

runs() { # name
    local pid
    pid=$(cat "$DIR/run/$1.pid" 2>/dev/null) || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "$(mark "$1")"
} 2>/dev/null

launch() { # name command...
    local name=$1 user
    shift
    mapfile -t user < <(as_user "$name")
    set -m # a process group of its own, which this terminal's Ctrl-C does not reach
    env "$(mark "$name")" "${user[@]}" "$@" </dev/null >>"$DIR/logs/$name.log" 2>&1 8>&- &
    set +m
    echo $! >"$DIR/run/$name.pid"
}

quit() { # name: ask, then end whatever is left of it
    local pid i
    if runs "$1"; then
        pid=$(cat "$DIR/run/$1.pid")
        kill -TERM -- "-$pid" 2>/dev/null || true
        for ((i = 0; i < 100; i++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.2
        done
    fi
    end "$1"
}

end() { # name: kill -9 of all its processes
    local pids
    mapfile -t pids < <(marked "$1")
    [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
    rm -f "$DIR/run/$1.pid"
}

await() { # name: until it answers
    local i
    for ((i = 0; i < 600; i++)); do
        if "${1}_healthy"; then return; fi
        if ! "${1}_runs"; then
            echo "error: $1 ended; the end of its log, $DIR/logs/$1.log:" >&2
            tail -15 "$DIR/logs/$1.log" >&2
            exit 1
        fi
        sleep 0.5
    done
    echo "error: $1 does not answer; its log: $DIR/logs/$1.log" >&2
    exit 1
}

check_ports() { # names...: all that are taken, at once
    local name port taken=0
    for name in "$@"; do
        port=${name^^}_PORT
        if [ -z "${!port:-}" ] || { [ "$name" = s3 ] && [ -n "$OWN_S3" ]; }; then continue; fi
        if listens "${!port}"; then
            echo "error: port ${!port}, which is to be $name's, is in use by $(holder "${!port}");" \
                "stop that, or choose another: $port=$((${!port} + 1)) make services" >&2
            taken=1
        fi
    done
    [ "$taken" = 0 ] || exit 2
}
