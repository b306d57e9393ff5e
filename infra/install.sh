#!/usr/bin/env bash
# Install what a lock pins, by several pips at once: one waits for the index and unpacks on a single core.
#   infra/install.sh PYTHON LOCK
# The lock's own pip comes first. What Python brings may be years old, and took twice as long.
set -euo pipefail
export python=$1
lock=$2
at_once=$(($(getconf _NPROCESSORS_ONLN) * 2))
[ $at_once -le 8 ] || at_once=8
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
awk -v parts=$at_once -v folder="$parts" '
    /^[^# ]/ { part = /^pip==/ ? "pip" : n++ % parts }
    part != "" { print > (folder "/" part) }' "$lock"
install() { # nothing is compiled: Python does that when a module is first imported
    "$python" -m pip install --require-hashes --no-deps --only-binary :all: --no-compile \
        --quiet --disable-pip-version-check -r "$1"
}
export -f install
if [ -e "$parts/pip" ]; then
    install "$parts/pip"
    rm "$parts/pip"
fi
printf '%s\n' "$parts"/* | xargs -P $at_once -I {} bash -c 'install "$1"' _ {}
