#!/usr/bin/env bash
# Work pool, deployments and automations on the server at PREFECT_API_URL. Run again, it changes
# what differs and adds nothing twice.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${PREFECT_API_URL:?the Prefect server, such as http://127.0.0.1:4200/api}"
# What pipeline/git clones, and where to, unless a run says otherwise.
export MODELSOUP_REPOSITORY=${MODELSOUP_REPOSITORY:-$(git remote get-url origin 2>/dev/null || pwd)}
export MODELSOUP_CHECKOUTS=${MODELSOUP_CHECKOUTS:-$PWD/.cache/checkouts}

quietly() { # shows what a command said only if it failed
    local said
    said=$("$@" 2>&1) || { echo "error: $*" >&2; echo "$said" | tail -20 >&2; return 1; }
}
# Its last line is for people: it names no passwords. PYTHONPATH: this checkout's soup/errors.py.
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} quietly python infra/prefect/surroundings.py
quietly prefect --no-prompt deploy --all
