"""A training step in one thread: as we take it, and as it could be taken.

    .venv/bin/python benchmarks/steps.py --model tf_efficientnet_lite0 --size 96 --batch 32
    .venv/bin/python benchmarks/steps.py --model resnet10t --size 32 --batch 64 --compile

Steps are taken in turns, and processor time is compared, so that other programs matter little.
--compile adds torch.compile, which needs a C++ compiler and minutes for its first step.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from machine import machine
from torch import Tensor, nn
from torch.nn import functional as F

from soup.models import timm_models
from soup.models.freed_memory import keep_freed_memory
from soup.train.optimizer import StepConfig, make_optimizer
from soup.train.step import Step

OURS = "float32, one pass of the optimiser (ours)"


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels)


def step(options: argparse.Namespace, way: str) -> Callable[[], Tensor]:
    """A step of a new model on drawn images."""
    torch.manual_seed(0)
    model = timm_models.create(options.model, options.kwargs, 10)
    model.to(memory_format=torch.channels_last).train()
    bfloat16 = way == "bfloat16, by autocast"
    method = StepConfig(weight_decay=0.05, precision="bfloat16" if bfloat16 else "float32")
    optimizer: torch.optim.Optimizer = make_optimizer(model, method, 1e-3)
    if way == "float32, many passes of the optimiser":
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=False)
    network: Any = torch.compile(model) if way == "torch.compile" else model
    take = Step(network, optimizer, loss, method)
    images = torch.randn(options.batch, 3, options.size, options.size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(options.batch) % 10
    return lambda: take(images, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet10t", help="of timm")
    parser.add_argument("--kwargs", type=json.loads, default={}, help="JSON for create_model")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="try torch.compile too")
    options = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    keep_freed_memory()
    names = [OURS, "float32, many passes of the optimiser", "bfloat16, by autocast"]
    ways = {name: step(options, name) for name in names + ["torch.compile"] * options.compile}
    for name, take in ways.items():
        begun = time.monotonic()
        take()
        print(f"first step, {name}: {time.monotonic() - begun:.1f} s")
    seconds = defaultdict[str, list[float]](list)
    for _ in range(options.rounds):
        for name, take in ways.items():
            begun = time.process_time()
            take()
            seconds[name].append(time.process_time() - begun)
    frame = pd.DataFrame(seconds).agg(["median", "min"]).T * 1000
    frame["times ours"] = frame["median"] / frame["median"][OURS]
    print(f"\n{options.model} at {options.size}, batch {options.batch}; ms of a processor a step")
    print(frame.to_markdown(floatfmt=(".0f", ".0f", ".0f", ".2f")))


if __name__ == "__main__":
    main()
