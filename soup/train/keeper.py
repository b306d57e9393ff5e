"""A run's state on disk, in one safetensors file: model, optimiser, and the step."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from soup.checkpoint import Checkpoint, save
from soup.shards import CheckpointError


@dataclass
class FileKeeper:
    """Keeps the state in `path`, at most every `seconds`."""

    path: Path
    seconds: float
    _last: float = field(default_factory=time.monotonic)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load the kept state in place and return its step; 0 if there is none that can be read."""
        try:
            kept = Checkpoint(self.path)
            step = int(kept.metadata["step"])
        except (CheckpointError, KeyError):
            return 0
        names = [name for name, _ in model.named_parameters()]
        model.load_state_dict(
            {n.removeprefix("model/"): kept[n] for n in kept if n[:6] == "model/"}
        )
        state: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(names))}
        for key in kept:
            if key.startswith("optimizer/"):
                _, index, part = key.split("/")
                state[int(index)][part] = kept[key]
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return step

    def keep(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state if it is time."""
        if time.monotonic() - self._last < self.seconds:
            return
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        for index, parts in optimizer.state_dict()["state"].items():
            for part, value in parts.items():
                tensors[f"optimizer/{index}/{part}"] = value
        save(tensors, self.path, {"step": str(step)})
        self._last = time.monotonic()
