#!/usr/bin/env bash
# That tests leave the environment as it was installed; it is kept between runs.
#   .ci/environment.sh record FOLDER   write down what its files are
#   .ci/environment.sh check FOLDER    name those that changed since; 1 if there are any
# By the times of their last change (ctime), which no program can set: root is not held by file modes.
set -euo pipefail
folder=$2 record=$2.state
files() { # but what is written when they are used: bytecode, and Prefect's pages
    find "$folder" ! -type d ! -name .installed ! -path '*/__pycache__/*' \
        ! -path '*/prefect/server/ui_build/*' ! -path '*/prefect/server/ui_v2_build/*' \
        -printf '%P\t%s %C@ %m %l\n' | LC_ALL=C sort
}
case $1 in
    record) files >"$record" ;;
    check)
        [ -e "$record" ] || { echo "$folder has no record of what was installed" >&2; exit 1; }
        changed=$(files | LC_ALL=C comm -3 "$record" - | sed 's/^\t//' | cut -f1 | sort -u)
        [ -z "$changed" ] || { echo "changed in $folder since it was installed:"; sed -n 1,20p <<<"$changed"; exit 1; } >&2
        ;;
    *) exit 2 ;;
esac
