#!/usr/bin/env bash
# dvc 3.67.1: a parameter that changes from 1 to true, or from 1 to 1.0, counts as unchanged.
#
# Values are compared as Python compares them, where 1 == True == 1.0, but the program that reads the
# file gets another kind of value, and often means another thing by it: layers to freeze, 1 or all
# (true); scikit-learn's max_features, 1 feature or all of them (1.0). `dvc repro` keeps the old result,
# `dvc status` says that all is up to date, and `dvc params diff` shows no change, so that two models
# whose parameter files differ are one model. Expected: a change, as from 1 to "1", which is seen.
#
# Seen (what the stage was last run with, after `dvc repro`):
#   n: 1 -> n: true   run with n: 1     dvc params diff: nothing
#   n: 1 -> n: 1.0    run with n: 1     dvc params diff: nothing
#   n: 1 -> n: "1"    run with n: "1"   dvc params diff: 1 line
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1 2>/dev/null
dvc=$folder/environment/bin/dvc
export DVC_NO_ANALYTICS=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com

mkdir project && cd project
git init --quiet
"$dvc" init --quiet
cat > dvc.yaml <<'YAML'
stages:
  train:
    cmd: cp params.yaml used.yaml
    params: [n]
    outs:
      - used.yaml: {cache: false}
YAML
for after in true 1.0 '"1"'; do
    echo 'n: 1' > params.yaml
    "$dvc" repro --quiet --force
    git add . && git commit --quiet --allow-empty --message "before $after"
    echo "n: $after" > params.yaml
    "$dvc" repro --quiet
    lines=$("$dvc" params diff --md | grep -c 'params.yaml' || true)
    printf 'n: 1 -> n: %-6s run with %-8s dvc params diff: %s\n' "$after" "$(cat used.yaml)" \
        "$( ((lines)) && echo "$lines line" || echo nothing)"
done | tee seen
diff - seen <<'EXPECTED'
n: 1 -> n: true   run with n: 1     dvc params diff: nothing
n: 1 -> n: 1.0    run with n: 1     dvc params diff: nothing
n: 1 -> n: "1"    run with n: "1"   dvc params diff: 1 line
EXPECTED
