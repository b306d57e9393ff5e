"""A run's state on disk, in one safetensors file: model, optimiser, averages, and the step."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soup.checkpoint import Checkpoint, save
from soup.shards import CheckpointError
from soup.train.averages import Averages


@dataclass
class FileKeeper:
    """Keeps the state in `path`, every `seconds`, and every `steps` if that comes first."""

    path: Path
    seconds: float
    steps: int | None = None
    _last: float = field(default_factory=time.monotonic)

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, averages: Averages
    ) -> int:
        """Load the kept state in place and return its step; 0 if there is none that can be read."""
        try:
            kept = Checkpoint(self.path)
            step = int(kept.metadata["step"])
            plain = json.loads(kept.metadata["optimizer"])
        except (CheckpointError, KeyError, ValueError):
            return 0
        model.load_state_dict(_below("model/", kept))
        averages.load(_below("averages/", kept))
        tensors = _below("optimizer/", kept)
        own = optimizer.state_dict()
        state = {int(index): _join(parts, tensors) for index, parts in plain["state"].items()}
        groups = [
            {**given, **_join(saved, tensors)}
            for given, saved in zip(own["param_groups"], plain["groups"], strict=True)
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return step

    def keep(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: Averages,
        now: bool = False,
    ) -> None:
        """Write the state if it is time."""
        due = time.monotonic() - self._last >= self.seconds
        if not (now or due or (self.steps and step % self.steps == 0)):
            return
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"averages/{name}": value for name, value in averages.state().items()}
        whole = optimizer.state_dict()
        plain: dict[str, Any] = {"state": {}, "groups": []}
        for index, parts in whole["state"].items():
            plain["state"][index] = _split(str(index), parts, tensors)
        for index, group in enumerate(whole["param_groups"]):
            parts = {key: value for key, value in group.items() if key != "params"}
            plain["groups"].append(_split(f"group-{index}", parts, tensors))
        save(tensors, self.path, {"step": str(step), "optimizer": json.dumps(plain)})
        self._last = time.monotonic()


def _split(place: str, parts: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors apart, by name; what JSON can say, as it is."""
    plain: dict[str, Any] = {}
    for key, value in parts.items():
        name = f"{place}/{key}"
        if isinstance(value, Tensor):
            tensors[f"optimizer/{name}"] = value
            plain[key] = {"tensor": name}
        else:
            plain[key] = {"is": value}
    return plain


def _join(parts: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    def one(part: dict[str, Any]) -> Any:
        if "tensor" in part:
            return tensors[part["tensor"]]
        # JSON makes lists of tuples (Adam's betas).
        return tuple(part["is"]) if isinstance(part["is"], list) else part["is"]

    return {key: one(part) for key, part in parts.items()}


def _below(prefix: str, kept: Checkpoint) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): kept[name] for name in kept if name.startswith(prefix)}
