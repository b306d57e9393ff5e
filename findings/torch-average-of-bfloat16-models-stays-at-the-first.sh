#!/usr/bin/env bash
# torch 2.15.0: AveragedModel of a model in bfloat16 can stay at the first weights for ever.
#
# The averages of SWA and EMA are kept in the model's own type. SWA adds a part of 1 / (n + 1) of the
# difference to what it has, EMA one of 1 - decay. Of a weight, bfloat16 keeps 8 bits: what is added
# is rounded away if it is below half of the last one, and the next update begins at the same place.
# A weight that goes from 1 to 2 in a thousand updates has the mean 1.5, and AveragedModel says 1, as if
# nothing had been averaged, without a warning; the documentation of swa_utils says nothing of types.
# Expected: the average of the checkpoints, rounded once. That an EMA needs float32 is known to projects
# with one of their own. A copy in float32 averages right, by avg_fn (a multi_avg_fn takes no two types).
#
# Seen (a weight of 1 to 2 in 1,000 updates; its mean is 1.5, its EMA of decay 0.999 is 1.368):
#   bfloat16: default average 1.0, get_swa_multi_avg_fn 1.0, get_ema_multi_avg_fn 1.0
#   float32: default average 1.5, get_swa_multi_avg_fn 1.5, get_ema_multi_avg_fn 1.368
#   bfloat16, averaged in float32: get_swa_avg_fn 1.5, get_ema_avg_fn 1.368
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6 2>/dev/null
environment/bin/python - <<'PYTHON' | tee seen
import copy

import torch
from torch import nn
from torch.optim import swa_utils


def average(model, into, **way):
    averaged = swa_utils.AveragedModel(into, **way)
    for weight in torch.linspace(1, 2, 1000):
        nn.init.constant_(model.weight, weight)
        averaged.update_parameters(model)
    return round(averaged.module.weight.item(), 3)


exact = nn.Linear(1, 1, bias=False)
low = copy.deepcopy(exact).bfloat16()
multi = {
    "default average": None,
    "get_swa_multi_avg_fn": swa_utils.get_swa_multi_avg_fn(),
    "get_ema_multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.999),
}
single = {
    "get_swa_avg_fn": swa_utils.get_swa_avg_fn(),
    "get_ema_avg_fn": swa_utils.get_ema_avg_fn(0.999),
}
for title, model in {"bfloat16": low, "float32": exact}.items():
    answers = {name: average(model, model, multi_avg_fn=way) for name, way in multi.items()}
    print(f"{title}:", ", ".join(f"{name} {answer}" for name, answer in answers.items()))
answers = {name: average(low, copy.deepcopy(exact), avg_fn=way) for name, way in single.items()}
print("bfloat16, averaged in float32:", ", ".join(f"{name} {it}" for name, it in answers.items()))
PYTHON
diff - seen <<'EXPECTED'
bfloat16: default average 1.0, get_swa_multi_avg_fn 1.0, get_ema_multi_avg_fn 1.0
float32: default average 1.5, get_swa_multi_avg_fn 1.5, get_ema_multi_avg_fn 1.368
bfloat16, averaged in float32: get_swa_avg_fn 1.5, get_ema_avg_fn 1.368
EXPECTED
