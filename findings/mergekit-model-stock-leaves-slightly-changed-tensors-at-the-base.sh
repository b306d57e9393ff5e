#!/usr/bin/env bash
# mergekit 0.1.5: model_stock leaves a tensor that fine-tuning changed only slightly at the base.
#
# Model Stock goes from the base to the mean of the models by a ratio of the angle between their changes
# (arXiv 2403.19522), in which the lengths of the changes cancel. mergekit divides by the product of two
# lengths, but by no less than 0.000001: below lengths of 0.001 the cosine comes out too small, and so
# does the ratio. A temperature or a short bias, changed little by a low rate, then hardly leaves the
# base, even if all models agree on its change, without a word; the guide to the methods names no such
# bound. Expected: the ratio of the angle, whatever the lengths.
#
# Seen (part of the way from the base to the mean, two models, changes of one length):
#   cosine 0.6, by the paper 0.75: length 1: 0.75, 0.01: 0.75, 0.0001: 0.01, 0.00001: 0.00
#   cosine 1, by the paper 1: length 1: 1.00, 0.01: 1.00, 0.0001: 0.02, 0.00001: 0.00
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check mergekit==0.1.5 torch==2.15.0 \
    transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6 2>/dev/null
cat >changes.py <<'PYTHON'
from torch import tensor

LENGTHS = ("1", "0.01", "0.0001", "0.00001")
PAIRS = {0.6: (tensor([1.0, 0.0]), tensor([0.6, 0.8])), 1: (tensor([1.0, 0.0]),) * 2}


def changes(which):
    """Of one model: the change of each tensor."""
    pairs = PAIRS.items()
    return {f"{cosine} {at}": pair[which] * float(at) for cosine, pair in pairs for at in LENGTHS}
PYTHON
environment/bin/python - <<'PYTHON'
from changes import changes
from safetensors.torch import save_file

first, second = changes(0), changes(1)
save_file({name: change * 0 for name, change in first.items()}, "base.safetensors")
save_file(first, "first.safetensors")
save_file(second, "second.safetensors")
PYTHON
cat >stock.yaml <<'YAML'
merge_method: model_stock
base_model: base.safetensors
models: [{model: first.safetensors}, {model: second.safetensors}]
YAML
environment/bin/mergekit-pytorch stock.yaml merged >log 2>&1 || { cat log; exit 1; }
environment/bin/python - <<'PYTHON' | tee seen
from changes import LENGTHS, PAIRS, changes
from safetensors.torch import load_file

first, second, merged = changes(0), changes(1), load_file("merged/model.safetensors")
for cosine in PAIRS:
    parts = []
    for length in LENGTHS:
        name = f"{cosine} {length}"
        part = merged[name][0] / ((first[name][0] + second[name][0]) / 2)
        parts.append(f"{length}: {part:.2f}")
    paper = 2 * cosine / (1 + cosine)
    print(f"cosine {cosine}, by the paper {paper:g}: length {', '.join(parts)}")
PYTHON
diff - seen <<'EXPECTED'
cosine 0.6, by the paper 0.75: length 1: 0.75, 0.01: 0.75, 0.0001: 0.01, 0.00001: 0.00
cosine 1, by the paper 1: length 1: 1.00, 0.01: 1.00, 0.0001: 0.02, 0.00001: 0.00
EXPECTED
