# The password of a Prefect that runs here: made once, and kept where its owner alone can read it.

auth_string() { # file: the one that it holds, so that browsers and shells stay logged in; or a new one
    local kept
    kept=$(sed -n 's/^export PREFECT_API_AUTH_STRING=modelsoup:\([A-Za-z0-9_-]\{32\}\)$/\1/p' "$1" \
        2>/dev/null | head -1) || true
    echo "modelsoup:${kept:-$(python -c 'import secrets; print(secrets.token_urlsafe(24))')}"
}

write_reach() { # file auth-string prefect-port mlflow-port: what another shell needs
    rm -f "$1.part" # whose mode may be another
    (umask 077 && cat >"$1.part") <<END
export PREFECT_API_URL=http://127.0.0.1:$3/api
export PREFECT_API_AUTH_STRING=$2
export MLFLOW_TRACKING_URI=http://127.0.0.1:$4
END
    mv -f "$1.part" "$1"
}
