"""What becomes of each kind of tensor in a merge: one table, `KINDS`, that every merge obeys.

Averaging number by number is right only for tensors in which a model is linear. A weight that is
stored as a product of parts, as integers with a scale, or in pieces is not the mean of its parts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from soup.weights.mapping import Spec

Tensors = Mapping[str, Spec]
Rule = Literal["averaged", "first", "said", "equal", "never"]

# torch calls them floating-point, but their numbers are packed, or powers of two without a sign.
PACKED = {torch.float4_e2m1fn_x2, torch.float8_e8m0fnu}
FLOAT8 = {
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
}  # fmt: skip
LORA = re.compile(
    r"(^|[._])(lora[._](embedding_)?(a|b|down|up|mid|e|magnitude_vector)|dora_scale|hada_[wt][12]"
    r"|lokr_[wt][12]|vera_(a|b|lambda_[bd])|b?oft_\w+)([._]|$)",
    re.IGNORECASE,
)
PARAMETRIZATION = re.compile(r"(^|\.)parametrizations\.\w+\.(\d+\.|original\d)")
SCALE = re.compile(r"[._]?(scale|amax|absmax)[^.]*$", re.IGNORECASE)
QUANTIZER = re.compile(r"zero|scale|bits|quant", re.IGNORECASE)


BECOMES: dict[Rule, str] = {
    "averaged": "averaged: summed in float64 and rounded once",
    "first": "the first model's",
    "said": "the first model's; a warning where they differ",
    "equal": "the first model's where all are equal, else refused",
    "never": "refused",
}


class Kind(NamedTuple):
    """A kind of tensor.

    Attributes:
        name: for people.
        recognized: by what a tensor is of this kind, for people.
        rule: what becomes of it, explained in `BECOMES`.
        remedy: what to do where it is refused.
        of: whether a tensor is of this kind, given its name and all tensors of the model. A tensor
            is of the first kind that fits.
    """

    name: str
    recognized: str
    rule: Rule
    remedy: str
    of: Callable[[str, Tensors], bool]


def averaged(dtype: torch.dtype) -> bool:
    """Whether tensors of a dtype are merged number by number: real and complex numbers."""
    return (dtype.is_floating_point or dtype.is_complex) and dtype not in PACKED


def _beside(tensors: Tensors, name: str, end: str, others: Sequence[str]) -> bool:
    """Whether a name ends so, and the same name with one of the other ends is there too."""
    return name.endswith(end) and any(name.removesuffix(end) + o in tensors for o in others)


def _spectral(name: str, tensors: Tensors) -> bool:
    stem, _, end = name.rpartition("_")
    plain = {f"{stem}_orig", f"{stem}_bar"} & tensors.keys()
    if end in ("orig", "bar", "u", "v"):
        return bool(plain) and f"{stem}_u" in tensors
    module = name.rpartition(".")[0]
    pair = {f"{module}.u0", f"{module}.sv0"}  # as BigGAN names them
    return name in pair and pair <= tensors.keys()


def _weight_norm(name: str, tensors: Tensors) -> bool:
    stem, _, end = name.rpartition("_")
    if end not in ("g", "v") or not {f"{stem}_g", f"{stem}_v"} <= tensors.keys():
        return False
    length, direction = tensors[f"{stem}_g"].shape, tensors[f"{stem}_v"].shape
    alike = zip(length, direction, strict=False)
    return len(length) in (0, len(direction)) and all(n in (1, of) for n, of in alike)


def _scale_of_float8(name: str, tensors: Tensors) -> bool:
    module, _, last = name.rpartition(".")
    if not SCALE.search(last):
        return False
    near = {module, SCALE.sub("", name)}  # fc.weight: fc.scale, fc.weight.scale; fc_scale
    return any(
        spec.dtype in FLOAT8 and (other in near or other.rpartition(".")[0] in near)
        for other, spec in tensors.items()
    )


def _placeholder(name: str, tensors: Tensors) -> bool:
    spec = tensors[name]
    return spec.shape == (0,) and averaged(spec.dtype) and name.endswith("weight")


UNFOLD = "save the models with it removed (torch.nn.utils.{}), and average those"
DEQUANTIZE = (
    "average the models as they were before quantisation (or dequantise them), "
    "and quantise the soup"
)

KINDS = (
    Kind(
        "state of a module",
        "the name ends in `_extra_state`",
        "equal",
        "leave it out of the files: it is no weight, and a module makes it anew",
        lambda name, _: name.endswith("_extra_state"),
    ),
    Kind(
        "low-rank factors",
        "the name has a part such as `lora_A`, `lora_B`, `lora_down`, `hada_w1`, `vera_lambda_b`",
        "equal",
        "the mean of factors is not the mean of their products: give the folders of the adapters "
        "(with adapter_config.json) and their base, soup cook --base BASE A B, or merge each into "
        "its model (peft: merge_and_unload) and average those",
        lambda name, _: LORA.search(name) is not None,
    ),
    Kind(
        "placeholders",
        "a `weight` of shape (0,), as ZeRO-3 leaves it",
        "never",
        "the file holds no weights: gather them first (DeepSpeed: zero_to_fp32.py)",
        _placeholder,
    ),
    Kind(
        "parametrised weights",
        "the name has `parametrizations.NAME.original0` or `parametrizations.NAME.0.` in it",
        "equal",
        "the weight is no linear function of it: "
        + UNFOLD.format("parametrize.remove_parametrizations"),
        lambda name, _: PARAMETRIZATION.search(name) is not None,
    ),
    Kind(
        "weight normalisation",
        "`NAME_g` beside `NAME_v`",
        "equal",
        "the weight is a product of both: " + UNFOLD.format("remove_weight_norm"),
        _weight_norm,
    ),
    Kind(
        "spectral normalisation",
        "`NAME_orig` or `NAME_bar` beside `NAME_u`, and `NAME_v`; `u0` beside `sv0`",
        "equal",
        "the weight is divided by a product of all: " + UNFOLD.format("remove_spectral_norm"),
        _spectral,
    ),
    Kind(
        "pruning masks",
        "`NAME_mask` beside `NAME_orig`",
        "equal",
        "the weight is a product of both: " + UNFOLD.format("prune.remove"),
        lambda name, tensors: _beside(tensors, name, "_mask", ["_orig"]),
    ),
    Kind(
        "masks",
        "dtype bool",
        "equal",
        "weights under different masks have no mean: apply each mask to its weights and leave it "
        "out, or fine-tune under one mask",
        lambda name, tensors: tensors[name].dtype == torch.bool,
    ),
    Kind(
        "scales of float8",
        "a name with `scale` or `amax` in its last part, in a module with a float8 tensor",
        "equal",
        f"a weight is a float8 number times its scale: {DEQUANTIZE}",
        _scale_of_float8,
    ),
    Kind(
        "packed numbers",
        "dtype float4 or float8_e8m0fnu",
        "equal",
        f"these are parts of quantised weights: {DEQUANTIZE}",
        lambda name, tensors: tensors[name].dtype in PACKED,
    ),
    Kind(
        "complex numbers",
        "dtype complex64, complex128: two real numbers each",
        "averaged",
        "",
        lambda name, tensors: tensors[name].dtype.is_complex,
    ),
    Kind(
        "float8 numbers",
        "dtype float8: compared with the largest number before it is rounded",
        "averaged",
        "",
        lambda name, tensors: tensors[name].dtype in FLOAT8,
    ),
    Kind(
        "real numbers",
        "dtype float64, float32, float16, bfloat16",
        "averaged",
        "",
        lambda name, tensors: tensors[name].dtype.is_floating_point,
    ),
    Kind(
        "batch counters",
        "the name ends in `num_batches_tracked`",
        "first",
        "",
        lambda name, _: name.endswith("num_batches_tracked"),
    ),
    Kind(
        "counters",
        "an integer, alone in its tensor, whose name has no `zero`, `scale`, `bits` or `quant`",
        "said",
        "",
        lambda name, tensors: (
            tensors[name].shape in ((), (1,)) and not QUANTIZER.search(name.rpartition(".")[2])
        ),
    ),
    Kind(
        "integers",
        "any other tensor of integers, such as packed or quantised weights and zero points",
        "equal",
        f"integers that differ have no mean: {DEQUANTIZE}",
        lambda *_: True,
    ),
)


def kind_of(name: str, tensors: Tensors) -> Kind:
    """Return the kind of a tensor.

    Args:
        name: of the tensor.
        tensors: all tensors of its model, because some kinds are known by what is beside them.
    """
    return next(kind for kind in KINDS if kind.of(name, tensors))
