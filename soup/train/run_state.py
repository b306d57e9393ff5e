"""A run's state on disk, in one safetensors file: model, optimiser, averages, and the step."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soup.files import parse_json
from soup.train.fsdp import placed, whole
from soup.train.rank import ALONE, Rank
from soup.train.weight_averages import Averages
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import CheckpointError

DAMAGE = (KeyError, ValueError, TypeError, AttributeError, IndexError)  # of a file's JSON


class Stopped(RuntimeError):
    """A run was asked to stop; its state is saved, and the next start continues it."""


@dataclass
class RunStateFile:
    """Saves the state of a run in a file.

    Rank 0 writes the file, and all ranks read it. The state of a sharded model is gathered before
    it is written: the run may continue sharded or not, and on another number of ranks.

    Attributes:
        path: the file.
        seconds: between two saves.
        steps: also save after every so many steps; None: do not.
        ranks: this process among those that run the fine-tune.
        sharded: whether the model is sharded.
        stop: asked after each step; if it says yes, `keep` saves the state and raises `Stopped`.
    """

    path: Path
    seconds: float
    steps: int | None = None
    ranks: Rank = ALONE
    sharded: bool = False
    stop: Callable[[], bool] = lambda: False
    _last: float = field(default_factory=time.monotonic)

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, averages: Averages, most: int
    ) -> int:
        """Load the saved state in place and return its step.

        Returns 0 if no state can be read, or if it is of a step after `most`.
        """
        try:
            kept = Checkpoint(self.path)
            step = int(kept.metadata["step"])
            if step > most:
                return 0
            plain = parse_json(kept.metadata["optimizer"], str(self.path), finite=False)
            # All is read before any of it is put in place.
            tensors = {
                name: placed(kept[f"model/{name}"], like)
                for name, like in model.state_dict().items()
            }
            state = _optimizer_state(optimizer, plain, kept)
        except (CheckpointError, *DAMAGE):
            return 0
        model.load_state_dict(tensors)
        averages.load(kept)
        optimizer.load_state_dict(state)
        return step

    def keep(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: Averages,
        now: bool = False,
    ) -> None:
        """Write the state if it is time to, if `now`, or if the run is asked to stop.

        Raises:
            Stopped: the run was asked to stop.
        """
        if not (self.ranks.first or self.sharded):
            return
        stopping = self.stop()
        due = now or stopping or time.monotonic() - self._last >= self.seconds
        due = due or bool(self.steps and step % self.steps == 0)
        if not (self.ranks.broadcast(due) if self.sharded else due):
            return
        tensors = {f"model/{name}": whole(value) for name, value in model.state_dict().items()}
        tensors |= averages.state()
        optimizer_state = optimizer.state_dict()
        states, groups = optimizer_state.pop("state"), optimizer_state.pop("param_groups")
        plain: dict[str, Any] = {"state": {}, "groups": []}
        for index, parts in states.items():
            plain["state"][index] = _split(str(index), parts, tensors)
        for index, group in enumerate(groups):
            parts = {key: value for key, value in group.items() if key != "params"}
            plain["groups"].append(_split(f"group-{index}", parts, tensors))
        plain["more"] = _split("more", optimizer_state, tensors)  # a generator's state
        if self.ranks.first:
            save(tensors, self.path, {"step": str(step), "optimizer": json.dumps(plain)})
        self._last = time.monotonic()
        if stopping and self.ranks.first:
            raise Stopped(f"stopped at step {step}, which is kept")


def _optimizer_state(
    optimizer: torch.optim.Optimizer, plain: Any, kept: Checkpoint
) -> dict[str, Any]:
    """The optimiser's state, of the JSON and the tensors in a file of `RunStateFile.keep`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}
    for index, parts in plain["state"].items():
        like = parameters[int(index)]
        state[int(index)] = {
            key: placed(value, like)
            if isinstance(value, Tensor) and value.shape == like.shape
            else value
            for key, value in _join(parts, kept).items()
        }
    groups = [
        {**group, **_join(saved, kept)}
        for group, saved in zip(
            optimizer.state_dict()["param_groups"], plain["groups"], strict=True
        )
    ]
    return {**_join(plain["more"], kept), "state": state, "param_groups": groups}


def _split(prefix: str, parts: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Move the tensors of `parts` to `tensors`; return the rest, with their names, for JSON.

    All ranks that share a sharded model must call this, which gathers its tensors.
    """

    def plain(name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, Tensor):
            tensors[f"optimizer/{name}"] = whole(value)
            return {"tensor": name}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, list | tuple):
            items = [plain(f"{name}/{index}", item) for index, item in enumerate(value)]
            return {type(value).__name__: items}
        return {"is": value}

    return {key: plain(f"{prefix}/{key}", value) for key, value in parts.items()}


def _join(parts: dict[str, Any], kept: Checkpoint) -> dict[str, Any]:
    def value(part: dict[str, Any]) -> Any:
        [(kind, told)] = part.items()
        if kind == "tensor":
            return kept[f"optimizer/{told}"]
        if kind == "dtype":
            return getattr(torch, told)
        if kind in ("list", "tuple"):
            items = map(value, told)
            return [*items] if kind == "list" else tuple(items)
        return told

    return {key: value(part) for key, part in parts.items()}
