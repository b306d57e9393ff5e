"""Two LoRA adapters of rank 8 averaged in three ways, against the float64 mean of merged models.

    python benchmarks/adapters.py --base FOLDER

FOLDER is a text encoder of transformers (by default a tiny BERT with random weights is made). PEFT
makes the adapters and, in float64, the models that they stand for. It takes seconds, and needs
the extra `text` and `peft`. The figures are in docs/checkpoints.md.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, BertConfig, BertModel

import soup
from soup.weights.adapters import Adapted, Adapter
from soup.weights.adapters.as_adapter import as_adapter

RANK = 8
TINY = BertConfig(
    hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=99
)
STEP = 0.02  # standard deviation of the numbers of B, about as after a fine-tune


def make(base: Path, folder: Path, seed: int) -> dict[str, Tensor]:
    """Save an adapter, and return the model that PEFT merges of it, in float64."""
    torch.manual_seed(seed)
    model = AutoModel.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=["query", "value", "dense"])
    wrapped = peft.get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=STEP)
    wrapped.save_pretrained(str(folder))
    return dict(wrapped.double().merge_and_unload().state_dict())


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of two models in the names of the first."""
    return max(float((one[name].double() - other[name]).abs().max()) for name in one)


def measure(base: Path, folder: Path) -> dict[str, float]:
    """The largest differences of each soup from the mean, beside the largest change of a weight."""
    merged = [make(base, folder / name, seed) for seed, name in enumerate("ab")]
    mean = {name: (merged[0][name] + merged[1][name]) / 2 for name in merged[0]}
    start = soup.Checkpoint(base)
    models = [Adapted(Adapter.open(str(folder / name)), start) for name in "ab"]
    ours = soup.average(models)
    of_names = {name: mean[name] for name in models[0].changed}

    def written(tensors: Mapping[str, Tensor], settings: Mapping[str, object]) -> Adapted:
        with tempfile.TemporaryDirectory() as place:
            save_file(dict(tensors), Path(place) / "adapter_model.safetensors")
            (Path(place) / "adapter_config.json").write_text(json.dumps(settings))
            return Adapted(Adapter.open(place), start)

    factors = [load_file(folder / name / "adapter_model.safetensors") for name in "ab"]
    apart = {name: (factors[0][name] + factors[1][name]) / 2 for name in factors[0]}
    summed, short = (as_adapter(models, [0.5, 0.5], rank) for rank in (None, RANK))
    return {
        "largest change": distance(of_names, start),
        "soup, merged": distance(of_names, ours),
        "soup, adapter of rank 16": distance(of_names, written(summed.tensors, summed.settings)),
        "soup, adapter of rank 8": distance(of_names, written(short.tensors, short.settings)),
        "left out by rank 8": short.lost,
        "mean of A and of B": distance(of_names, written(apart, models[0].adapter.config.values)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", type=Path)
    base = parser.parse_args().base
    with tempfile.TemporaryDirectory() as folder:
        if base is None:
            base = Path(folder) / "base"
            torch.manual_seed(0)
            BertModel(TINY).save_pretrained(base)
        for name, value in measure(base, Path(folder)).items():
            print(f"{name:26} {value:.1e}")


if __name__ == "__main__":
    main()
