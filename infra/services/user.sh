# Who the services run as where root starts them: PostgreSQL as the user postgres; the others as
# SERVICES_USER, else as the owner of this folder, else as nobody. A worker writes into this folder,
# so where that is root's, it stays root's as well.

service_user() { # name: '' for the user that we are
    local owner
    [ "$(id -u)" = 0 ] || return 0
    owner=$(stat -c %U .)
    if [ -n "${SERVICES_USER:-}" ]; then
        [ "$SERVICES_USER" = root ] || echo "$SERVICES_USER"
    elif [ "$owner" != root ] && [ "$owner" != UNKNOWN ]; then
        echo "$owner"
    elif [ "$1" != worker ]; then
        echo nobody
    fi
}

can_run() { # user: whether it can read the code and the programs
    command -v setpriv >/dev/null && id "$1" >/dev/null 2>&1 &&
        # By a shell: what setpriv itself starts still has root's capabilities to find it.
        setpriv --reuid "$1" --regid "$(id -g "$1")" --clear-groups -- \
            bash -c '"$1" -c "" && ls flows && cd "$2"' - "$(command -v python)" "$DIR" >/dev/null 2>&1
}

user_of() { # name: the user that it is given to; '' where it stays as it is
    local user
    user=$(service_user "$1")
    [ -z "$user" ] || ! can_run "$user" || echo "$user"
}

as_user() { # name: the command that becomes its user, a word a line
    local user
    user=$(user_of "$1")
    [ -z "$user" ] || printf '%s\n' "HOME=$DIR/home" \
        setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --
}

check_users() { # before anything starts: who runs as root is told, a user that cannot is refused
    local name rooted=()
    [ "$(id -u)" = 0 ] || return 0
    for name in "${USED[@]}"; do
        [ "$name" != postgres ] && [ -z "$(user_of "$name")" ] || continue
        [ -z "${SERVICES_USER:-}" ] || [ "$SERVICES_USER" = root ] ||
            fail "SERVICES_USER=$SERVICES_USER cannot read $PWD or run $(command -v python);" \
                "let it, or name another user"
        rooted+=("$name")
    done
    [ ${#rooted[@]} = 0 ] || echo "warning: as root run ${rooted[*]}; start the services as an" \
        "ordinary user, or name one who can read this folder (and write to it, for the worker):" \
        "SERVICES_USER=NAME make services" >&2
}

hand_over() { # name folders...: to its user
    local user
    user=$(user_of "$1")
    mkdir -p "${@:2}"
    if [ -n "$user" ]; then
        mkdir -p "$DIR/home"
        chmod 711 "$DIR" "$DIR/run"
        chown -R "$user" "${@:2}" "$DIR/home"
    fi
}
