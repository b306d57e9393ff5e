"""Learned soup: the shares of the ingredients are trained.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), appendix I:

    min over alpha, beta of sum_j loss(beta * f(x_j, sum_i alpha_i theta_i), y_j),
    alpha = softmax(raw), over the held-out set; by layer: one alpha for each layer.

The published code starts from equal shares and beta = 1, and takes 5 epochs of AdamW, lr 0.05, no
weight decay, batches of 256; its "by layer" is one alpha for each tensor, here `by="tensor"`.

Where the paper is silent: the gradient of alpha_i is <dL/dtheta, theta_i>, so that no graph is ever
built over the ingredients; a part of the held-out set is not learned from, but says when to stop
and which shares are kept (equal ones, if none do better); a tensor without a gradient, such as
BatchNorm's averages, follows the shares of its layer, or equal ones where it has its own.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from soup.recipes.blending import Unusable, blockwise, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import NotFinite, Spec, Weights
from soup.weights.mixer import Mixer

By = Literal["global", "layer", "tensor"]
BLOCK = re.compile(r"((.*?\.)?\d+(\.(blocks?\.)?\d+)*)\.")
MEMORY = 8 * 2**30


class Slope(NamedTuple):
    """A loss and its derivatives: by the weights (tied ones under one of their names), by beta."""

    loss: float
    weights: Weights
    beta: float


@runtime_checkable
class Objective(Protocol):
    """The held-out loss, which alone knows the model and the data.

    Attributes:
        device: where it wants the weights.
    """

    device: torch.device

    def batches(self, epoch: int) -> Iterable[Any]:
        """What to call it with, for one pass over the examples that are learned from."""
        ...

    def __call__(self, weights: Weights, beta: float, batch: Any) -> Slope: ...

    def check(self, weights: Weights, beta: float) -> float | None:
        """The loss over the examples that are not learned from; None if there are none."""
        ...


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        groups: for each floating-point tensor the group whose shares it follows.
        shares: for each group the share of each ingredient, by name; their sum is 1.
        beta: the inverse temperature, which is no part of the soup's weights.
        losses: one a step.
        checks: the losses of `Objective.check`: before, and after each epoch.
    """

    groups: Mapping[str, str]
    shares: Mapping[str, Mapping[str, float]]
    beta: float
    losses: tuple[float, ...]
    checks: tuple[float, ...]


def learned(
    ingredients: Sequence[Ingredient],
    objective: Objective,
    judge: Judge | None = None,
    by: By = "layer",
    epochs: int = 5,
    memory: float = MEMORY,
) -> Soup:
    """Each one's share trained on held-out data: where there are thousands of held-out examples.

    The shares that were learned mix the soup once more, exactly: in float64, from the ingredients.

    Raises:
        Unusable, Incompatible, NotFinite: see `learn`, as for the arguments.
    """
    found = learn(ingredients, objective, by, epochs, memory=memory)

    def exact(name: str, tensors: list[Tensor]) -> Tensor:
        total = torch.zeros_like(tensors[0], dtype=torch.float64)
        for share, tensor in zip(found.shares[found.groups[name]].values(), tensors, strict=True):
            total.add_(tensor, alpha=share)
        return total

    soup = soup_of_all(ingredients, blockwise(exact, weights_of(ingredients)), judge)
    return replace(soup, shares=found.shares)


def learn(
    ingredients: Sequence[Ingredient],
    objective: Objective,
    by: By = "layer",
    epochs: int = 5,
    lr: float = 0.05,
    patience: int = 2,
    memory: float = MEMORY,
) -> Learned:
    """The shares of the ingredients that minimise the objective.

    Args:
        by: what has shares of its own: the whole model, each layer (see `layer`), each tensor.
        patience: epochs without a better check after which to stop.
        memory: bytes of ingredients to hold on the objective's device; see `soup.weights.mixer`.

    Raises:
        Unusable: there are no ingredients, two have one name, or `by` is unknown.
        Incompatible: names or shapes differ.
        NotFinite: the loss is not a number.
    """
    mixer = Mixer(weights_of(ingredients), objective.device, memory)
    names = [i.name for i in ingredients]
    groups = _groups(mixer.specs, by)
    row = {group: index for index, group in enumerate(dict.fromkeys(groups.values()))}
    raw = torch.zeros(len(row), len(names), requires_grad=True)
    beta = torch.ones((), requires_grad=True)
    optimizer = torch.optim.AdamW([raw, beta], lr=lr, weight_decay=0.0)
    losses: list[float] = []
    checks: list[float] = []

    def mixed() -> Weights:
        alpha = _shares(raw.detach())
        return mixer.mix({name: alpha[row[group]] for name, group in groups.items()})

    since = 0
    for epoch in range(epochs + 1):
        loss = objective.check(mixed(), beta.item())
        if loss is None or _finite(loss, len(losses)) < min(checks, default=math.inf):
            best, since = (_shares(raw.detach()), beta.item()), 0
        else:
            since += 1
        checks += [] if loss is None else [loss]
        if epoch == epochs or since == patience:
            break
        for batch in objective.batches(epoch):
            slope = objective(mixed(), beta.item(), batch)
            losses.append(_finite(slope.loss, len(losses)))
            alpha = _shares(raw)
            pull = torch.zeros_like(alpha)
            for name, products in mixer.products(slope.weights).items():
                pull[row[groups[name]]] += products
            optimizer.zero_grad()
            alpha.backward(pull)
            beta.grad = torch.tensor(slope.beta)
            optimizer.step()
    shares = {g: dict(zip(names, best[0][r].tolist(), strict=True)) for g, r in row.items()}
    return Learned(groups, shares, best[1], tuple(losses), tuple(checks))


def _shares(raw: Tensor) -> Tensor:
    return raw.double().softmax(dim=1)


def _finite(loss: float, step: int) -> float:
    if math.isfinite(loss):
        return loss
    raise NotFinite(
        f"the loss of the learned soup is {loss} after {step} steps; leave out models that diverged"
    )


def layer(name: str) -> str:
    """The layer of a tensor, by its name: up to the first number, the index of a block.

    A stage's index and that of the block in it go together ("stages.2.blocks.5", "blocks.2.1").
    A name without a number belongs to the module it names ("head.weight" and "head.bias": "head").
    """
    found = BLOCK.match(name)
    return found[1] if found else name.rpartition(".")[0] or name


def _groups(specs: Mapping[str, Spec], by: By) -> dict[str, str]:
    """For each floating-point tensor the group whose shares it follows; ties follow the first."""
    rules = {"global": lambda _: "all", "layer": layer, "tensor": lambda name: name}
    if by not in rules:
        raise Unusable(f"shares by {by!r} are unknown; known: {', '.join(rules)}")
    rule = rules[by]
    return {n: rule(spec.tied) for n, spec in specs.items() if spec.dtype.is_floating_point}
