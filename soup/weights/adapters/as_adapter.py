"""A mean of adapters written as one adapter: of the ranks' sum, exactly, or of a smaller rank.

The mean of s_i B_i A_i is the product of all B_i side by side, each times its share and scale, with
all A_i below each other; its rank is the sum of theirs. The best approximation of a smaller rank
is that of its largest singular values (Eckart and Young, 1936).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.weights import average
from soup.weights.adapters.adapted import Adapted
from soup.weights.adapters.folder import OUTER

BIASES = ("none", "lora_only", "all")


@dataclass(frozen=True)
class Written:
    """An adapter to write.

    Attributes:
        tensors: by their names in the file.
        settings: those of adapter_config.json.
        rank: of most modules.
        lost: share of the change's length that a smaller rank leaves out, in all and by module.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    settings: Mapping[str, Any]
    rank: int
    lost: float = 0.0
    lost_of: Mapping[str, float] = field(default_factory=dict, repr=False)


def as_adapter(models: Sequence[Adapted], shares: Sequence[float], rank: int | None) -> Written:
    """Make one adapter of a mean of adapters.

    A single adapter of share 1 stays as it is, bit for bit, where its rank is not too large.

    Args:
        models: adapters of one base.
        shares: of each in the mean; their sum is 1.
        rank: the largest rank of a module; None for the sum of the ranks.

    Raises:
        BadInput: a model is a DoRA adapter: no mean of such is an adapter.
    """
    dora = [model.path for model in models if model.adapter.config.dora]
    if dora:
        raise BadInput(
            f"{dora[0]} is a DoRA adapter, and a mean of such models is none: leave --rank out, "
            "and the soup is written as a whole model"
        )
    whole = _whole(models, shares)
    if len(models) == 1 and shares[0] == 1 and _fits(models[0], rank):
        config, own = models[0].adapter.config, dict(models[0].adapter.file)
        return Written(own, config.values, config.r)
    tensors, ranks = dict(whole), dict[str, int]()
    squares: dict[str, tuple[float, float]] = {}
    for module in sorted({m for model in models for m in model.adapter.factors}):
        having = [
            (w, m) for w, m in zip(shares, models, strict=True) if module in m.adapter.factors
        ]
        factors = [model.adapter.factors[module] for _, model in having]
        scales = [share * model.adapter.config.scaling(module) for share, model in having]
        # B times a scale of 1 is B, bit for bit.
        b = torch.cat([f.b.double() * s for f, s in zip(factors, scales, strict=True)], 1)
        a = torch.cat([f.a.double() for f in factors])
        if rank is not None and len(a) > rank:
            a, b, squares[module] = _shortened(a, b, rank)
        ranks[module] = len(a)
        kind = "lora_embedding_{}" if factors[0].embedding else "lora_{}.weight"
        for part, tensor, like in (("A", a, factors[0].a), ("B", b, factors[0].b)):
            name = f"{OUTER}{module}.{kind.format(part)}"
            tensors[name] = tensor.to(like.dtype).contiguous()
    lost = {m: math.sqrt(cut / max(all_, 1e-300)) for m, (cut, all_) in squares.items()}
    cut, total = (math.fsum(pair[i] for pair in squares.values()) for i in (0, 1))
    lost_in_all = math.sqrt(cut / total) if total else 0.0
    settings = _settings(models, ranks)
    return Written(tensors, settings, settings["r"], lost_in_all, lost)


def _fits(model: Adapted, rank: int | None) -> bool:
    return rank is None or all(len(f.a) <= rank for f in model.adapter.factors.values())


def _shortened(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Factors of the nearest product of a smaller rank, and the squares of what it lacks and all.

    Args:
        a: (R, in) or (R, in, height, width), float64.
        b: (out, R) or (out, R, 1, 1).
    """
    left, left_rest = torch.linalg.qr(b.flatten(1))
    right, right_rest = torch.linalg.qr(a.flatten(1).T)
    u, s, v = torch.linalg.svd(left_rest @ right_rest.T)
    root = s[:rank].sqrt()
    short_b = (left @ u[:, :rank]) * root
    short_a = root[:, None] * (v[:rank] @ right.T)
    squares = s.square()
    b_shape, a_shape = (b.shape[0], rank, *b.shape[2:]), (rank, *a.shape[1:])
    lacks = float(squares[rank:].sum()), float(squares.sum())
    return short_a.reshape(a_shape), short_b.reshape(b_shape), lacks


def _whole(models: Sequence[Adapted], shares: Sequence[float]) -> dict[str, Tensor]:
    """The mean of the tensors that some adapter replaces, by their names in the file."""
    names = {in_file: name for model in models for name, in_file in model.whole.items()}
    mean = average(models, shares)
    return {in_file: mean[name] for in_file, name in names.items()}


def _settings(models: Sequence[Adapted], ranks: Mapping[str, int]) -> dict[str, Any]:
    """Settings by which each module's B A is taken as it is: alpha is the rank.

    Where no model has factors (`modules_to_save` alone), those of the first model stay.
    """
    given = [model.adapter.config.values for model in models]
    most = max(ranks.values(), default=models[0].adapter.config.r)
    others = {f"^{module}": rank for module, rank in ranks.items() if rank != most}
    saved = _union(values.get("modules_to_save") or [] for values in given)
    of_factors = {
        "lora_alpha": most,
        "rank_pattern": others,
        "alpha_pattern": others,
        "use_rslora": False,
        "target_modules": sorted(ranks),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
    }
    return {
        **given[0],
        "r": most,
        **(of_factors if ranks else {}),
        "init_lora_weights": True,
        "modules_to_save": saved or None,
        "bias": max((str(v.get("bias") or "none") for v in given), key=BIASES.index),
    }


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    return [*dict.fromkeys(name for names in lists for name in names)]
