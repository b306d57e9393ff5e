#!/usr/bin/env bash
# Install what a lock pins, by several pips at once: one waits for the index and unpacks on a single core.
#   infra/install.sh PYTHON LOCK
# First come the lock's own pip, twice as fast as what Python may bring, and setuptools: of what an
# environment begins with, no pip takes any away while another looks at it.
set -euo pipefail
export python=$1
lock=$2
at_once=$(($(getconf _NPROCESSORS_ONLN) * 2))
[ $at_once -le 8 ] || at_once=8
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
awk -v parts=$at_once -v folder="$parts" '
    /^[^# ]/ { part = /^(pip|setuptools)==/ ? "first" : n++ % parts }
    part != "" { print > (folder "/" part) }' "$lock"
install() { # nothing is compiled: Python does that when a module is first imported
    "$python" -m pip install --require-hashes --no-deps --only-binary :all: --no-compile \
        --quiet --disable-pip-version-check -r "$1"
}
export -f install
if [ -e "$parts/first" ]; then
    install "$parts/first"
    rm "$parts/first"
fi
printf '%s\n' "$parts"/* | xargs -P $at_once -I {} bash -c 'install "$1"' _ {}
