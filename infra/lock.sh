#!/usr/bin/env bash
# Pin every dependency with the SHA-256 of each of its files, for all platforms:
#   requirements.lock       what `make setup` installs
#   infra/worker.lock       what the images of workers get of it
#   infra/server.lock       what the image of servers gets of it
#   infra/worker-cpu.lock   as worker.lock, with a CPU build of torch; only if TORCH_INDEX names its index
# Versions stay as they are where they can; with --upgrade they become the newest that are allowed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "error: this needs uv: pip install uv"; exit 2; }
main=requirements.lock

pin() { # FILE ABOUT ARGUMENTS...
    local file=$1 about=$2
    shift 2
    # uv reads the versions that it keeps from the file that it writes.
    uv pip compile --python-version 3.11 --only-binary :all: --generate-hashes \
        --no-header --no-annotate --quiet --output-file "$file" "$@"
    {
        echo "# $about"
        echo "# Exact versions, and the SHA-256 of every file that the package index has of them, for all"
        echo "# platforms. pip refuses any other file. Made by \`make lock\`."
        grep -v '^#' "$file"
    } >"$file.part"
    mv "$file.part" "$file"
}

# All extras but `try`: Gradio needs Pillow 12, which resizes tall pictures to other pixels than 13.
read -ra extras < <(python3 -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
print(*(f"--extra={name}" for name in extras if name != "try"))')
worker=(pyproject.toml --extra pipeline --extra s3 --extra ray)
pin $main "For \`make\`; ranges are in pyproject.toml." --universal pyproject.toml "${extras[@]}" "$@"
pin infra/worker.lock "For workers (infra/Dockerfile)." --universal --constraints $main "${worker[@]}"
pin infra/server.lock "For servers (infra/Dockerfile)." --universal --constraints $main infra/server.in
[ -n "${TORCH_INDEX:-}" ] || exit 0

# That index has other packages as well, in fewer versions: all indexes are searched for each.
trap 'rm -f infra/.cpu' EXIT
sed -nE '/==/{s/ \\$//; s/^(torch|torchvision)==[^ ]+/&+cpu/; p}' $main >infra/.cpu
pin infra/worker-cpu.lock "For workers without a GPU (infra/Dockerfile)." "${worker[@]}" \
    --constraints infra/.cpu --index "$TORCH_INDEX" --index-strategy unsafe-best-match \
    --python-platform x86_64-manylinux_2_28
