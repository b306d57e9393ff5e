#!/usr/bin/env bash
# torch's fused AdamW steps wrongly on a CPU, without an error, where a weight and its moments have
# different orders in memory. An ordinary resume does this: train a convolution and save the state of
# the optimiser; then load both in a program that has moved the model to `channels_last`.
# `load_state_dict` keeps the order of the saved moments, and the fused step takes the numbers of
# weight and moments as they lie in memory, so that each weight gets the moments of another one.
# The optimiser that is not fused steps correctly.
#
# Seen with torch 2.15.0, Python 3.11; largest difference of a weight after the next step, lr 0.1:
#   resumed in channels_last, fused: at least 0.05
#   resumed in channels_last, not fused: at most 0.000001
#
# Exits with 0 if it is still so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import copy
import sys

import torch
from torch import nn


def step(layer, optimizer, images):
    optimizer.zero_grad()
    layer(images).square().mean().backward()
    optimizer.step()


def difference(fused):
    """Between a run that was saved and resumed in channels_last, and one that was not."""
    torch.manual_seed(0)
    images = torch.randn(2, 4, 3, 8, 8)
    through = nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.AdamW(through.parameters(), lr=0.1, fused=fused)
    step(through, optimizer, images[0])
    resumed = copy.deepcopy(through).to(memory_format=torch.channels_last)
    again = torch.optim.AdamW(resumed.parameters(), lr=0.1, fused=fused)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(through, optimizer, images[1])
    step(resumed, again, images[1])
    return (through.weight - resumed.weight).abs().max().item()


fused, plain = difference(fused=True), difference(fused=False)
print(f"resumed in channels_last, fused: {fused:.6f}")
print(f"resumed in channels_last, not fused: {plain:.6f}")
sys.exit(0 if fused > 0.05 and plain < 1e-6 else 1)
PROGRAM
