#!/usr/bin/env bash
# mergekit 0.1.5: a gradient, a list as a parameter's value, gives the last norm and the head its FIRST
# value in mergekit-yaml; mergekit-pytorch gives the first value to every tensor.
#
# A list runs along the layers, from its first value to its last. What lies outside the layers is planned
# at the place 0, not only the embeddings, which come first, but also what comes last. So weights of
# [1, 0] and [0, 1], from one model at the input to another at the output, end with the second model's
# layers under the first one's norm and head. mergekit-pytorch knows no layers, and takes the list all
# the same: the second model is left out wholly. Neither warns. The README says that endpoints are
# interpolated, and nothing of either. Expected: the last value after the last layer, and a refusal where
# there are no layers. A filter on the tensor's name, before the gradient, sets norm and head.
#
# Seen (a Llama of three layers whose weights are all 0, and one whose weights are all 1):
#   mergekit-yaml: embeddings 0, layers 0 0.5 1, norm 0, head 0
#   mergekit-pytorch: embeddings 0, layers 0 0 0, norm 0, head 0
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check mergekit==0.1.5 torch==2.15.0 \
    transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6 2>/dev/null
export HF_HUB_OFFLINE=1
environment/bin/python - 2>/dev/null <<'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sizes = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 4}
counts = {"num_hidden_layers": 3, "num_attention_heads": 1, "num_key_value_heads": 1}
model = LlamaForCausalLM(LlamaConfig(**sizes, **counts, tie_word_embeddings=False))
for value in (0, 1):
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, value)
    model.save_pretrained(f"all-{value}")
PYTHON
settings() { # of both programs, for models in these files
    echo 'merge_method: linear'
    echo 'models:'
    echo "- {model: $1, parameters: {weight: [1, 0]}}"
    echo "- {model: $2, parameters: {weight: [0, 1]}}"
}
settings all-0 all-1 >layers.yaml
settings all-0/model.safetensors all-1/model.safetensors >files.yaml
environment/bin/mergekit-yaml layers.yaml mergekit-yaml --no-copy-tokenizer --no-write-model-card \
    >log 2>&1 || { cat log; exit 1; }
environment/bin/mergekit-pytorch files.yaml mergekit-pytorch >log 2>&1 || { cat log; exit 1; }
environment/bin/python - <<'PYTHON' | tee seen
from safetensors.torch import load_file

for program in ("mergekit-yaml", "mergekit-pytorch"):
    merged = load_file(f"{program}/model.safetensors")

    def value(name):
        (number,) = merged[name].unique().tolist()
        return f"{number:g}"

    layers = [value(f"model.layers.{layer}.self_attn.q_proj.weight") for layer in range(3)]
    print(f"{program}: embeddings {value('model.embed_tokens.weight')}, layers", *layers, end=", ")
    print(f"norm {value('model.norm.weight')}, head {value('lm_head.weight')}")
PYTHON
diff - seen <<'EXPECTED'
mergekit-yaml: embeddings 0, layers 0 0.5 1, norm 0, head 0
mergekit-pytorch: embeddings 0, layers 0 0 0, norm 0, head 0
EXPECTED
