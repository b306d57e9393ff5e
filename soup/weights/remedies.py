"""What to do about weights that cannot be averaged, by the cause that names and shapes show."""

import math
import re
from collections.abc import Mapping
from typing import TypeVar

from soup.weights.wrappers import unwrap

Shapes = Mapping[str, tuple[int, ...]]
Value = TypeVar("Value")


def remedy(first: Shapes, second: Shapes) -> str:
    """A sentence with the likely cause and what to do about it.

    Args:
        first, second: tensor name -> shape.
    """
    missing = [name for name in first if name not in second]
    reshaped = [name for name in first if name in second and first[name] != second[name]]
    if first == second:
        cause = "average the floating-point weights that the integers were made from"
    elif wrappers := wrappers_between(first, second):
        cause = (
            f"the names differ by {wrappers} alone: convert the files once with 'soup import', "
            "which gives all of them the same names"
        )
    elif prefix := _prefix_between(first, second):
        cause = (
            f"the names differ by {prefix} alone, which 'soup import FILE --key {prefix[:-1]} "
            "--out NEW.safetensors' takes off"
        )
    elif 2 * len(missing) > len(first) and _numbers(first) == _numbers(second):
        cause = (
            "as many numbers under other names: one model by two names, such as those of "
            "transformers before and since version 5, or of a published and a timm checkpoint; "
            "save both in the same way (transformers: save_pretrained), or convert both with "
            "'soup import --model timm:NAME'"
        )
    elif reshaped and all(first[name][1:] == second[name][1:] for name in reshaped):
        cause = "fine-tune both from the same initialisation, head included"
    elif first.keys() != second.keys() and any(
        encoder_prefix(*pair) is not None for pair in ((first, second), (second, first))
    ):
        cause = (
            "one is an encoder, the other a model with it and a head: average models that are "
            "both whole, heads included"
        )
    else:
        cause = "they are models of different architectures: average only models of one"
    return cause


def encoder_prefix(encoder: Shapes, model: Shapes) -> str | None:
    """What stands before an encoder's names in a model that holds it: "bert.", or '' for nothing.

    A tenth of the encoder's tensors, or four, may be missing or of another shape (a head of its
    own). What the model has beside them is no further layer of the same kind, as ResNet-34 has
    beside ResNet-18. None if the model does not hold it.
    """
    for prefix in ["", *sorted({f"{name.partition('.')[0]}." for name in model})]:
        held = {prefix + n for n, shape in encoder.items() if model.get(prefix + n) == shape}
        others = len(encoder) - len(held)
        if held and others <= max(4, len(encoder) // 10) and others <= len(held):
            parts = {f"{prefix}{name.partition('.')[0]}" for name in encoder}
            beside = [name for name in model if name not in held and _parts(name) & parts]
            if not any(re.search(r"\.\d+\.", name) for name in beside):
                return prefix
    return None


def _parts(name: str) -> set[str]:
    """The modules that a tensor is in: "a" and "a.b" of "a.b.weight"."""
    parts = name.split(".")[:-1]
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def wrappers_between(first: Shapes, second: Shapes) -> str:
    """What `unwrap` takes off one of two models that are then the same; '' if they are not."""
    (bare, removed), (other_bare, other_removed) = unwrap(first), unwrap(second)
    if _under(bare, first) != _under(other_bare, second):
        return ""
    between = sorted({*removed} ^ {*other_removed})
    return f"wrappers ({', '.join(between)})" if between else "composed and decomposed Unicode"


def _prefix_between(first: Shapes, second: Shapes) -> str:
    """The prefix that all names of one of two models have, which else are the same; or ''."""
    for inner, outer in ((first, second), (second, first)):
        prefix = encoder_prefix(inner, outer)
        if prefix and {prefix + name: shape for name, shape in inner.items()} == outer:
            return prefix
    return ""


def _numbers(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _under(names: Mapping[str, str], values: Mapping[str, Value]) -> dict[str, Value]:
    return {new: values[old] for old, new in names.items()}
