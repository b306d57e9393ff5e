"""Building a model without data first, so that no memory is taken for one that does not fit.

Weights of others come with a description, whose numbers may ask for any amount of memory. So a
model is built twice: first as an outline on the device `meta`, whose tensors have shapes and no
data, under limits; then, if the weights fit the outline, in memory that the weights fill. The
second build leaves out the initialisation of parameters, which takes most of its time. Buffers are
computed as ever, because no file holds some of them (tables of positions and the like).
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
# Functions that set or change the numbers of their first argument, besides those of torch.nn.init.
IN_PLACE = frozenset({
    "uniform_", "normal_", "erfinv_", "fill_", "zero_", "copy_", "mul_", "add_", "sub_", "div_",
    "clamp_", "clamp_min_",
})  # fmt: skip


class TooLarge(ModelError):
    """A model is larger than any that is built; the message says which limit."""


def outline(make: Make, name: str) -> nn.Module:
    """The model on the device `meta`, which takes no memory.

    Args:
        make: builds the model.
        name: of the model, for the error message.

    Raises:
        TooLarge: it is beyond `limits.MODEL_BYTES`, `MODEL_PARTS` or `COMPUTED_BYTES`.
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

    with _watched(count), torch.device("meta"):
        model = _made(make)
    kept = model.state_dict().keys()
    computed = sum(b.nbytes for n, b in model.named_buffers() if n not in kept)
    if computed > limits.COMPUTED_BYTES:
        tables = f"tables of {computed:,} bytes that no file holds, and at most "
        tables += f"{limits.COMPUTED_BYTES:,} are computed"
        raise _too_large(name, tables, "COMPUTED_BYTES")
    return model


def without_numbers(make: Make, outlined: nn.Module) -> nn.Module:
    """The model with any numbers in its parameters: all of them must be loaded.

    Args:
        make: builds the model.
        outlined: its outline.
    """
    names = {name for name, _ in outlined.named_parameters(remove_duplicate=False)}
    if not names <= outlined.state_dict().keys():  # some are never loaded
        return make()
    with torch.random.fork_rng(devices=()), _NoInitialisation():
        return make()


class _NoInitialisation(TorchFunctionMode):
    """Parameters keep the numbers that their memory happens to hold."""

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
    """The model; a limit that a library wrapped into its own error is told as such."""
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


# Registered once and for all threads, because other threads may be walking the table of hooks.
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
