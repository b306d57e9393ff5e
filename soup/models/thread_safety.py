"""Whether several threads may compute with one model at once.

A model that keeps something of a batch in its attributes while it computes gives wrong results if
another thread computes a batch meanwhile. No model of timm, open_clip or transformers that we know
does so in evaluation mode; this module finds out for models that nobody knows.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")
ROUNDS = 3  # of several threads at once
_log = logging.getLogger(__name__)
_verdicts: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def safe(
    model: nn.Module,
    compute: Callable[[T], Tensor],
    parts: Sequence[T],
    threads: Executor,
    count: int,
) -> bool:
    """Whether a model gives the results of one thread in several; found out once for a model.

    If not, a warning says why.

    Args:
        model: that `compute` uses.
        compute: a part -> the result.
        parts: different ones, a few examples each.
        threads: to compute in.
        count: of the threads.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return False  # what a hook does is unknown, and hooks come and go
    if model not in _verdicts:
        _verdicts[model] = reason = _unsafe(model, compute, parts, threads, count)
        if reason:
            _log.warning("%s is computed in one thread, because %s", type(model).__name__, reason)
    return not _verdicts[model]


def _unsafe(
    model: nn.Module,
    compute: Callable[[T], Tensor],
    parts: Sequence[T],
    threads: Executor,
    count: int,
) -> str:
    """Why several threads may not compute with the model; '' if they may."""
    for part in parts:  # what a model makes once, at first use, is there afterwards
        threads.submit(compute, part).result()
    alone, before = [], dict[str, tuple[Any, ...]]()
    for part in parts:
        alone.append(threads.submit(compute, part).result())
        after = dict(_state(model))
        changed = [name for name, value in after.items() if _differs(value, before.get(name))]
        if before and changed:
            return f"each batch changes its {changed[0]}"
        before = after
    start = threading.Barrier(count)

    def at_once(part: T) -> Tensor:
        start.wait()
        return compute(part)

    for _ in range(ROUNDS):
        which = [lane % len(parts) for lane in range(count)]
        together = [threads.submit(at_once, parts[index]) for index in which]
        for index, result in zip(which, together, strict=True):
            if not _same(result.result(), alone[index]):
                return "several threads at once give other results"
    return ""


def _state(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """What the modules of a model hold beside their modules, by name."""
    for path, module in model.named_modules():
        held = {k: v for k, v in vars(module).items() if k not in ("_modules", "_parameters")}
        buffers = held.pop("_buffers")
        for name, value in (held | buffers).items():
            yield f"{type(module).__name__}.{name} ({path or 'the model'})", _token(value)


def _token(value: Any) -> tuple[Any, ...]:
    """Differs when the value is another object, or changed; holds the object, whose id it tells."""
    if isinstance(value, Tensor):
        return value, None if value.is_inference() else value._version
    return value, len(value) if isinstance(value, list | dict | set) else None


def _differs(one: tuple[Any, ...], other: tuple[Any, ...] | None) -> bool:
    return other is None or one[0] is not other[0] or one[1] != other[1]


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit, NaN included."""
    both = [tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (one, other)]
    return both[0].shape == both[1].shape and torch.equal(*both)
