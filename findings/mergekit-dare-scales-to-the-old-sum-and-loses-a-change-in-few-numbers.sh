#!/usr/bin/env bash
# mergekit 0.1.5: dare_linear's rescaling loses most of a change that lies in a few numbers of a tensor.
#
# DARE drops each change with probability p and divides the others by 1 - p, so that the change expected
# is the one there was (arXiv 2311.03099, equation 1). mergekit's `rescale`, which the guide calls DARE's,
# scales what is left to the sum of absolute values before. That is alike where all numbers changed about
# as much. A tensor of one number is dropped, or kept as it was: at density 0.1 a tenth of its change is
# expected. So it is with one large number among many small ones, such as an outlier; and where that is
# dropped, the small ones are blown up to its size, here a hundredfold. Expected: the paper's factor,
# which `rescale: false` with a `lambda` of 1 / density gives, for models of one density.
#
# Seen (density 0.1; what a change of 1 becomes, rounded, if it is alone in a tensor, and with 1,000
# others of 0.00001; 1,000 tensors of each kind):
#   rescale: true: alone 0 or 1; with the others 0 or 1, whose sum is 1.01 if 0
#   rescale: false, lambda: 10: alone 0 or 10; with the others 0 or 10, whose sum is 0.01 if 0
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check mergekit==0.1.5 torch==2.15.0 \
    transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6 2>/dev/null
environment/bin/python - <<'PYTHON'
import torch
from safetensors.torch import save_file

one, many = torch.ones(1), torch.tensor([1.0] + [1e-5] * 1000)
tuned = {f"{kind} {n}": t.clone() for kind, t in (("one", one), ("many", many)) for n in range(1000)}
save_file(tuned, "tuned.safetensors")
save_file({name: 0 * tensor for name, tensor in tuned.items()}, "base.safetensors")
PYTHON
for setting in 'rescale: true' 'rescale: false, lambda: 10'; do
    cat >dare.yaml <<YAML
merge_method: dare_linear
base_model: base.safetensors
models: [{model: tuned.safetensors, parameters: {weight: 1, density: 0.1}}]
parameters: {$setting}
YAML
    environment/bin/mergekit-pytorch dare.yaml merged --random-seed 0 >log 2>&1 || { cat log; exit 1; }
    printf '%s: ' "$setting"
    environment/bin/python - <<'PYTHON'
from safetensors.torch import load_file

merged = load_file("merged/model.safetensors")


def becomes(kind):
    rounded = {round(merged[f"{kind} {n}"][0].item()) for n in range(1000)}
    return " or ".join(str(number) for number in sorted(rounded))


sums = [many[1:].sum().item() for n in range(1000) if not (many := merged[f"many {n}"])[0]]
print(f"alone {becomes('one')}; with the others {becomes('many')},", end=" ")
print(f"whose sum is {sum(sums) / len(sums):.2f} if 0")
PYTHON
done | tee seen
diff - seen <<'EXPECTED'
rescale: true: alone 0 or 1; with the others 0 or 1, whose sum is 1.01 if 0
rescale: false, lambda: 10: alone 0 or 10; with the others 0 or 10, whose sum is 0.01 if 0
EXPECTED
