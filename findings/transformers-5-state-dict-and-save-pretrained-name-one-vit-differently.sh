#!/usr/bin/env bash
# transformers 5 names the tensors of one ViT in two ways: `model.state_dict()` in the way of version 5
# ("vit.layers.0.attention.q_proj.weight"), `model.save_pretrained()` in the way of version 4
# ("vit.encoder.layer.0.attention.attention.query.weight"). Two checkpoints of one model, one written by
# torch.save(model.state_dict()) and the other by save_pretrained (or one from either version of the
# library), share only the tensors outside the layers: a program that averages or compares them tensor
# by tensor finds different models, and load_state_dict of the saved file fails.
# `from_pretrained` reads both.
#
# Seen with transformers 5.24.0, torch 2.15.0, Python 3.11:
#   names in state_dict alone: 48, such as vit.layers.0.attention.k_proj.bias
#   names on disk alone: 48, such as vit.encoder.layer.0.attention.attention.key.bias
#   load_state_dict of the saved file: RuntimeError
#
# Exits with 0 if it is still so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import sys

from safetensors.torch import load_file
from transformers import ViTConfig, ViTForImageClassification

config = ViTConfig(
    hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
    image_size=32, patch_size=16, num_labels=3,
)
model = ViTForImageClassification(config)
model.save_pretrained("saved")
memory, disk = set(model.state_dict()), load_file("saved/model.safetensors")
ours, theirs = sorted(memory - set(disk)), sorted(set(disk) - memory)
print(f"names in state_dict alone: {len(ours)}, such as {ours[0] if ours else None}")
print(f"names on disk alone: {len(theirs)}, such as {theirs[0] if theirs else None}")
try:
    model.load_state_dict(disk)
    outcome = "loads"
except RuntimeError as error:
    outcome = type(error).__name__
print(f"load_state_dict of the saved file: {outcome}")
sys.exit(0 if len(ours) == len(theirs) == 48 and outcome == "RuntimeError" else 1)
PROGRAM
