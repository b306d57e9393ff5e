#!/usr/bin/env bash
# torch 2.15.0: SWA by get_swa_multi_avg_fn with use_buffers=True fails on any model with BatchNorm.
#
# AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn(), use_buffers=True) averages the buffers
# too. BatchNorm has an integer one, num_batches_tracked, which SWA divides in place by
# _foreach_addcdiv_, which takes no integers: the second update ends with a RuntimeError that names
# neither tensor nor remedy. The first update only copies, so that the error comes after training has
# gone on for an epoch. Expected: the counter copied or rounded, as the default average
# (no multi_avg_fn) and get_ema_multi_avg_fn do with the same model. A multi_avg_fn that copies
# integers and gives the rest to torch's function takes care of it.
#
# Seen:
#   default average: 2 updates
#   get_ema_multi_avg_fn: 2 updates
#   get_swa_multi_avg_fn: 1 update, then RuntimeError: Integer division with addcdiv ...
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy 2>/dev/null
environment/bin/python - <<'PYTHON'
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

ways = {
    "default average": None,
    "get_ema_multi_avg_fn": get_ema_multi_avg_fn(0.9),
    "get_swa_multi_avg_fn": get_swa_multi_avg_fn(),
}
seen = {}
for name, way in ways.items():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    averaged = AveragedModel(model, multi_avg_fn=way, use_buffers=True)
    updates, error = 0, ""
    try:
        for _ in range(2):
            model(torch.randn(4, 2))
            averaged.update_parameters(model)
            updates += 1
    except RuntimeError as problem:
        error = f", then RuntimeError: {str(problem)[:30]} ..."
    seen[name] = (updates, bool(error))
    print(f"{name}: {updates} update{'s' * (updates > 1)}{error}")
expected = {name: (1, True) if "swa" in name else (2, False) for name in ways}
raise SystemExit(0 if seen == expected else 1)
PYTHON
