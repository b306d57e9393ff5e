"""What to do about weights that cannot be averaged, by the cause that names and shapes show."""

from collections import Counter
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
    missing = Counter(shape for name, shape in first.items() if name not in second)
    unexpected = Counter(shape for name, shape in second.items() if name not in first)
    reshaped = [name for name in first if name in second and first[name] != second[name]]
    if first == second:
        cause = "average the floating-point weights that the integers were made from"
    elif wrappers := _wrappers_between(first, second):
        cause = (
            f"the names differ by {wrappers} alone: convert the files once with 'soup import', "
            "which gives all of them the same names"
        )
    elif prefix := _prefix_between(first, second):
        cause = (
            f"the names differ by {prefix} alone, which 'soup import FILE --key {prefix[:-1]} "
            "--out NEW.safetensors' takes off"
        )
    elif missing == unexpected and 2 * missing.total() > len(first):
        cause = (
            "the same shapes under other names: one model by two names, such as those of "
            "transformers before and since version 5, or of a published and a timm checkpoint; "
            "save both in the same way (transformers: save_pretrained), or convert both with "
            "'soup import --model timm:NAME'"
        )
    elif reshaped and all(first[name][1:] == second[name][1:] for name in reshaped):
        cause = "fine-tune both from the same initialisation, head included"
    elif any(encoder_prefix(*pair) is not None for pair in ((first, second), (second, first))):
        cause = (
            "one is an encoder, the other a model with it and a head: average models that are "
            "both whole, heads included"
        )
    else:
        cause = "they are models of different architectures: average only models of one"
    return cause


def encoder_prefix(encoder: Shapes, model: Shapes) -> str | None:
    """What stands before an encoder's names in a model that holds it: "bert.", or '' for nothing.

    Nine of ten tensors suffice, because heads may differ. None if the model does not hold it.
    """
    for prefix in ["", *sorted({f"{name.partition('.')[0]}." for name in model})]:
        held = sum(1 for name, shape in encoder.items() if model.get(prefix + name) == shape)
        if encoder and held >= 0.9 * len(encoder):
            return prefix
    return None


def _wrappers_between(first: Shapes, second: Shapes) -> str:
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


def _under(names: Mapping[str, str], values: Mapping[str, Value]) -> dict[str, Value]:
    return {new: values[old] for old, new in names.items()}
