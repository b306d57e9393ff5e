#!/usr/bin/env bash
# One MLflow user a person, on the servers of `make services`; its password is printed once.
#   infra/mlflow_user.sh NAME [READ | EDIT | MANAGE] [--new-password]     default: EDIT
# In containers: docker compose ... exec mlflow python /etc/mlflow/user.py NAME
set -euo pipefail
cd "$(dirname "$0")/.."
env=${SERVICES_DIR:-$PWD/.services}/env
[ -r "$env" ] || { echo "error: $env cannot be read: start the services (make services) as its owner" >&2; exit 2; }
. "$env"
[ ! -x .venv/bin/python ] || PATH=$PWD/.venv/bin:$PATH
exec python infra/mlflow/user.py "$@"
