#!/usr/bin/env bash
# peft 0.21.2: merge_and_unload(adapter_names=["two"]) gives a model with the low-rank weights of "two" and
# the head of "one", if "one" is the active adapter.
#
# modules_to_save trains whole modules with an adapter, most often a new classifier, which belongs to it
# alone. adapter_names decides which low-rank weights are merged, but the modules are those of the active
# adapter, which is the first one loaded. So models of all adapters, made in a loop over their names, are
# mixtures of two adapters but for one, without a warning. Expected: the head that belongs to the merged
# weights. set_adapter("two") before merging does that. Two names at once were refused for a time
# (huggingface/peft#1137); now the second one's head is left out as silently.
#
# Seen (which adapter's answers the merged model gives, and which head it has; "one" is active):
#   adapter_names=["one"]: answers of one, head of one
#   adapter_names=["two"]: answers of neither, head of one
#   set_adapter("two"), then adapter_names=["two"]: answers of two, head of two
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    peft==0.21.2 torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 numpy==2.4.6 2>/dev/null
environment/bin/python - 2>log <<'PYTHON' | tee seen || { cat log; exit 1; }
import copy

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
model = nn.Sequential()
model.body, model.head = nn.Linear(4, 4), nn.Linear(4, 3)
config = LoraConfig(target_modules=["body"], modules_to_save=["head"], init_lora_weights=False)
model = get_peft_model(model, config, adapter_name="one")
model.add_adapter("two", config)
heads = model.base_model.model.head.modules_to_save
for head in heads.values():
    nn.init.normal_(head.weight)

examples, answers = torch.randn(8, 4), {}
for name in ("two", "one"):  # "one" is active in the end, as it was from the start
    model.set_adapter(name)
    answers[name] = model(examples)


def show(title, name, active):
    merged = copy.deepcopy(model)
    merged.set_adapter(active)
    merged = merged.merge_and_unload(adapter_names=[name])
    given = [n for n, answer in answers.items() if torch.allclose(merged(examples), answer, atol=1e-5)]
    (whose,) = [n for n, head in heads.items() if torch.equal(merged.head.weight, head.weight)]
    print(f"{title}: answers of {' and '.join(given) or 'neither'}, head of {whose}")


show('adapter_names=["one"]', "one", active="one")
show('adapter_names=["two"]', "two", active="one")
show('set_adapter("two"), then adapter_names=["two"]', "two", active="two")
PYTHON
diff - seen <<'EXPECTED'
adapter_names=["one"]: answers of one, head of one
adapter_names=["two"]: answers of neither, head of one
set_adapter("two"), then adapter_names=["two"]: answers of two, head of two
EXPECTED
