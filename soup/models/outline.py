"""Build a model without data first, so that no memory is allocated for a model that does not fit.

The description of a model may come from other people, and its numbers may ask for any amount of
memory. So a model is built twice: first, within limits, as an outline on the device `meta`, where
tensors have shapes but no data; then, if the weights fit the outline, in memory, which the weights
fill. Both builds skip the initialisation of parameters, which would take most of the time. Buffers
are computed as usual, because some of them are in no file (position tables, for example).
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from soup import limits
from soup.models.architecture import ModelError

Make = Callable[[], nn.Module]
# Functions that change the values of their first argument, besides those of torch.nn.init.
IN_PLACE = frozenset({
    "uniform_", "normal_", "erfinv_", "fill_", "zero_", "copy_", "mul_", "add_", "sub_", "div_",
    "clamp_", "clamp_min_",
})  # fmt: skip


class TooLarge(ModelError):
    """A model exceeds a limit, which the message names."""


def outline(make: Make, name: str) -> nn.Module:
    """Build the model on the device `meta`, which takes no memory.

    Args:
        make: builds the model.
        name: name of the model, for the error message.

    Raises:
        TooLarge: the model exceeds `limits.MODEL_BYTES`, `MODEL_PARTS` or `COMPUTED_BYTES`.
        ModelError: raised by `make`.
    """
    parts = size = 0

    def count(part: object) -> None:
        nonlocal parts, size
        parts += 1
        size += part.nbytes if isinstance(part, Tensor) else 0
        if parts > limits.MODEL_PARTS:
            raise _too_large(
                name, f"more than {limits.MODEL_PARTS:,} layers and tensors", "MODEL_PARTS"
            )
        if size > limits.MODEL_BYTES:
            raise _too_large(name, f"more than {limits.MODEL_BYTES:,} bytes", "MODEL_BYTES")

    # There are no numbers to initialise, and to try it takes most of the time.
    with _watched(count), torch.device("meta"), _NoInitialisation():
        model = _made(make)
    kept = model.state_dict().keys()
    computed = sum(b.nbytes for n, b in model.named_buffers() if n not in kept)
    if computed > limits.COMPUTED_BYTES:
        tables = f"tables of {computed:,} bytes that no file holds, and at most "
        tables += f"{limits.COMPUTED_BYTES:,} are computed"
        raise _too_large(name, tables, "COMPUTED_BYTES")
    return model


def without_numbers(make: Make, outlined: nn.Module) -> nn.Module:
    """Build the model without initialising its parameters: the caller must load all of them.

    Args:
        make: builds the model.
        outlined: the outline of the model.
    """
    names = {name for name, _ in outlined.named_parameters(remove_duplicate=False)}
    if not names <= outlined.state_dict().keys():  # some parameters are never loaded
        return make()
    with torch.random.fork_rng(devices=()), _NoInitialisation():
        return make()


class _NoInitialisation(TorchFunctionMode):
    """Skip initialisation: parameters keep whatever values their memory holds."""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(target, nn.Parameter) and (
            func.__name__ in IN_PLACE or getattr(func, "__module__", "") == "torch.nn.init"
        ):
            return target
        return func(*args, **kwargs)


def _too_large(name: str, what: str, limit: str) -> TooLarge:
    return TooLarge(f"{name} is not built: it has {what} (limit {limit} in soup/limits.py)")


def _made(make: Make) -> nn.Module:
    """Build the model; if a library wrapped `TooLarge` into its own error, raise `TooLarge`."""
    try:
        return make()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, TooLarge):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


class _Watching(threading.local):
    look: Callable[[object], None] | None = None


_watching = _Watching()


def _on_registration(_module: nn.Module, _name: str, part: object) -> None:
    if _watching.look is not None and part is not None:
        _watching.look(part)


# Registered once, for all threads: other threads may be iterating over the table of hooks.
hooks.register_module_module_registration_hook(_on_registration)
hooks.register_module_parameter_registration_hook(_on_registration)
hooks.register_module_buffer_registration_hook(_on_registration)


@contextmanager
def _watched(look: Callable[[object], None]) -> Iterator[None]:
    """Call `look` for each module, parameter and buffer that this thread registers in a module."""
    _watching.look = look
    try:
        yield
    finally:
        _watching.look = None
