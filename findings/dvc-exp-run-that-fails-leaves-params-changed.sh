#!/usr/bin/env bash
# dvc 3.67.1: `dvc exp run --set-param` that fails leaves the parameter file changed in the workspace.
#
# An experiment is run in the workspace by default, and what --set-param sets is written to
# params.yaml there. After a run that succeeds, the change belongs to the experiment. After one that
# fails there is no experiment, and the change stays without a word: the next `dvc repro` runs with
# it. Expected: params.yaml as it was before, or a message that it was changed. `--temp` runs in a
# copy and leaves the workspace alone; `git restore params.yaml` takes the change back.
#
# Seen:
#   before: lr: 0.1
#   after a failed 'dvc exp run --set-param lr=0.5': lr: 0.5
#   the message names params.yaml: no
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
echo 'lr: 0.1' > params.yaml
cat > dvc.yaml <<'YAML'
stages:
  train:
    cmd: exit 1
    params: [lr]
YAML
git add . && git commit --quiet --message start

echo "before: $(cat params.yaml)"
said=$("$dvc" exp run --set-param lr=0.5 2>&1) && { echo "the run did not fail: $said"; exit 1; }
after=$(cat params.yaml)
echo "after a failed 'dvc exp run --set-param lr=0.5': $after"
named=no
grep -q 'params.yaml' <<< "$said" && named=yes
echo "the message names params.yaml: $named"
[[ $after == "lr: 0.5" && $named == no ]]
