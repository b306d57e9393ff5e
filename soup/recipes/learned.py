"""Learned soup: train the share of each ingredient by gradient descent on held-out data.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), appendix I:

    min over alpha, beta of sum_j loss(beta * f(x_j, sum_i alpha_i theta_i), y_j),
    alpha = softmax(raw), over the held-out set; by layer: one alpha for each layer.

The published code starts from equal shares and beta = 1, and trains 5 epochs of AdamW, lr 0.05, no
weight decay, batches of 256; its "by layer" is one alpha for each tensor, here `by="tensor"`.

Where the paper is silent: the gradient by alpha_i is computed as <dL/dtheta, theta_i>, so that
autograd never builds a graph over the ingredients. A part of the held-out set is not trained on; it
decides when to stop and which shares are kept (equal shares, if no others are better). A tensor
without a gradient, such as a running average of BatchNorm, gets the shares of its layer, or those
of the start with `by="tensor"`.

`start="answers"` is ours. The logits of a mean of weights are close to the mean of the models'
logits (section 4 of the paper; RADIN, arXiv 2401.17790, ranks soups by it). So the steps begin at
the shares and beta by which the weighted mean of the kept logits has the lowest loss on the
examples that are trained on, if the check says that they are better than equal shares. It takes no
pass of a model.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from soup.recipes.blending import blockwise, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import NotFinite, Spec, Weights
from soup.weights.kinds import averaged
from soup.weights.mixer import Mixer

By = Literal["global", "layer", "tensor"]
Start = Literal["equal", "answers"]
NUMBERED_BLOCK = re.compile(r"((.*?\.)?\d+(\.(blocks?\.)?\d+)*)\.")
MEMORY = 8 * 2**30  # bytes
LR = 0.05


class Gradients(NamedTuple):
    """A loss and its derivatives.

    Attributes:
        loss: of one batch.
        weights: dL/dtheta by tensor name; tied tensors under one of their names.
        beta: dL/dbeta.
    """

    loss: float
    weights: Weights
    beta: float


@runtime_checkable
class Objective(Protocol):
    """The held-out loss. It holds the model and the data, which the recipe does not know.

    Attributes:
        device: the weights it is called with must be there.
        storage: tensors of the model, that weights may be written to before a call, in place of a
            second copy of them; may be empty.
    """

    device: torch.device
    storage: Weights

    def batches(self, epoch: int, size: int | None = None) -> Iterable[Any]:
        """Yield the batches of one pass over the training part of the held-out set.

        Args:
            size: examples in a batch; the objective's own size if None.
        """
        ...

    def __call__(self, weights: Weights, beta: float, batch: Any) -> Gradients: ...

    def check(self, weights: Weights, beta: float) -> float | None:
        """Return the loss over the rest of the held-out set; None if nothing was set aside."""
        ...


@runtime_checkable
class Answers(Protocol):
    """Held-out logits of the ingredients."""

    def best_mean(self, names: Sequence[str], batches: Sequence[Any]) -> tuple[Tensor, float]:
        """Return the shares and beta by which the weighted mean of logits has the lowest loss.

        Args:
            names: of the ingredients.
            batches: examples of the objective.

        Returns:
            The logarithms of the shares up to a constant, (K,), and beta.
        """
        ...


@dataclass(frozen=True)
class Learned:
    """The result of training the shares.

    Attributes:
        groups: for each floating-point tensor the name of the group whose shares it gets.
        shares: for each group the share of each ingredient, by name; their sum is 1.
        beta: the inverse temperature. It is not part of the soup's weights.
        losses: one for each step.
        checks: the losses that `Objective.check` returned before training (of equal shares, then of
            those of the answers, if asked for) and after each epoch.
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
    lr: float = LR,
    predictions: Answers | None = None,
    start: Start = "equal",
) -> Soup:
    """Train the share of each model on held-out data: where there are thousands of examples.

    The soup is mixed with the trained shares in float64, from the ingredients.

    Args:
        ingredients: all of them get a share.
        objective: the held-out loss.
        by: "global" for one share of each ingredient, "layer" for one in each layer, "tensor" for
            one in each tensor.
        epochs: the most passes over the training part of the held-out set.
        memory: bytes of ingredients to keep on the objective's device; the others are read again.
        judge: counts the errors of the soup, if given.
        lr: learning rate, the published one by default. Each step of AdamW changes the logarithm of
            a share by at most about this, so that 0.4 needs fewer steps (docs/benchmarks.md).
        predictions: held-out logits of the ingredients.
        start: the steps begin at "equal" shares, as published, or at those that the "answers" of
            the ingredients say are best: their held-out logits, known since they were scored.

    Raises:
        Unusable, Incompatible, NotFinite: see `learn`.
    """
    if start not in ("equal", "answers"):
        raise Unusable(f"unknown start {start!r}; known: equal (as published), answers")
    if start == "answers" and predictions is None:
        raise Unusable("start: answers needs the held-out answers of all models")
    answers = predictions if start == "answers" else None
    result = learn(ingredients, objective, by, epochs, lr, memory=memory, answers=answers)
    return soup_of_shares(ingredients, result, judge)


def soup_of_shares(ingredients: Sequence[Ingredient], result: Learned, judge: Judge | None) -> Soup:
    """Return the soup of trained shares, mixed in float64; its errors are counted by a judge."""

    def mixed(name: str, tensors: list[Tensor]) -> Tensor:
        total = torch.zeros_like(tensors[0], dtype=torch.float64)
        shares = result.shares[result.groups[name]].values()
        for share, tensor in zip(shares, tensors, strict=True):
            total.add_(tensor, alpha=share)
        return total

    soup = soup_of_all(ingredients, blockwise(mixed, weights_of(ingredients)), judge)
    return replace(soup, shares=result.shares)


def learn(
    ingredients: Sequence[Ingredient],
    objective: Objective,
    by: By = "layer",
    epochs: int = 5,
    lr: float = LR,
    patience: int = 2,
    memory: float = MEMORY,
    answers: Answers | None = None,
) -> Learned:
    """Find the shares of the ingredients that minimise the objective.

    Args:
        ingredients: all of them get a share.
        objective: the held-out loss.
        by: "global" for one share of each ingredient, "layer" for one in each layer (see
            `layer_of`), "tensor" for one in each tensor.
        epochs: the most passes over the training part of the held-out set.
        lr: learning rate of AdamW.
        patience: stop after this many epochs without a lower check.
        memory: bytes of ingredients to keep on the objective's device; see `soup.weights.mixer`.
        answers: decide the shares to start from, equal ones if None.

    Raises:
        Unusable: there are no ingredients, two have the same name, `by` is unknown, or `lr` is not
            above 0.
        Incompatible: names or shapes differ.
        NotFinite: the loss is NaN or infinite.
    """
    if not 0 < lr < math.inf:
        raise Unusable(f"lr of learned is a number above 0, not {lr}")
    mixer = Mixer(weights_of(ingredients), objective.device, memory)
    names = [ingredient.name for ingredient in ingredients]
    groups = _groups(mixer.specs, by)
    row = {group: index for index, group in enumerate(dict.fromkeys(groups.values()))}
    raw = torch.zeros(len(row), len(names), requires_grad=True)
    beta = torch.ones((), requires_grad=True)
    optimizer = torch.optim.AdamW([raw, beta], lr=lr, weight_decay=0.0)
    losses: list[float] = []
    checks: list[float] = []

    def mixed() -> Weights:
        alpha = _shares(raw.detach())
        shares = {name: alpha[row[group]] for name, group in groups.items()}
        return mixer.mix(shares, objective.storage)

    def better() -> bool:
        """Whether the check is the lowest so far; true if nothing is checked."""
        loss = objective.check(mixed(), beta.item())
        if loss is None:
            return True
        lowest = min(checks, default=math.inf)
        checks.append(finite(loss, len(losses)))
        return loss < lowest

    best = raw.detach().clone(), beta.detach().clone()
    if better() and answers is not None:
        start, scale = answers.best_mean(names, [*objective.batches(0)])
        with torch.no_grad():
            raw.copy_(start.expand_as(raw))
            beta.fill_(scale)
            if not better():
                raw.copy_(best[0])
                beta.copy_(best[1])
        best = raw.detach().clone(), beta.detach().clone()
    epochs_without_gain = 0
    for epoch in range(epochs):
        for batch in objective.batches(epoch):
            gradients = objective(mixed(), beta.item(), batch)
            losses.append(finite(gradients.loss, len(losses)))
            alpha = _shares(raw)
            alpha_gradient = torch.zeros_like(alpha)
            for name, products in mixer.products(gradients.weights).items():
                alpha_gradient[row[groups[name]]] += products
            optimizer.zero_grad()
            alpha.backward(alpha_gradient)
            beta.grad = torch.tensor(gradients.beta)
            optimizer.step()
        if better():
            best, epochs_without_gain = (raw.detach().clone(), beta.detach().clone()), 0
        elif (epochs_without_gain := epochs_without_gain + 1) == patience:
            break
    rows = _shares(best[0]).tolist()
    shares = {g: dict(zip(names, rows[r], strict=True)) for g, r in row.items()}
    return Learned(groups, shares, best[1].item(), tuple(losses), tuple(checks))


def _shares(raw: Tensor) -> Tensor:
    return raw.double().softmax(dim=1)


def finite(loss: float, step: int) -> float:
    """Return the loss, or raise `NotFinite` if it is NaN or infinite."""
    if math.isfinite(loss):
        return loss
    raise NotFinite(
        f"the loss of the learned soup is {loss} after {step} steps; leave out models that diverged"
    )


def layer_of(name: str) -> str:
    """Return the layer of a tensor: its name up to the first number, the index of a block.

    The index of a stage and that of the block in it go together ("stages.2.blocks.5",
    "blocks.2.1"). A name without a number belongs to its module ("head" for "head.weight").
    """
    numbered = NUMBERED_BLOCK.match(name)
    return numbered[1] if numbered else name.rpartition(".")[0] or name


def _groups(specs: Mapping[str, Spec], by: By) -> dict[str, str]:
    """Return the group of each floating-point tensor; tied tensors are in that of the first."""
    rules = {"global": lambda _: "all", "layer": layer_of, "tensor": lambda name: name}
    if by not in rules:
        raise Unusable(f"shares by {by!r} are unknown; known: {', '.join(rules)}")
    rule = rules[by]
    return {n: rule(spec.tied) for n, spec in specs.items() if averaged(spec.dtype)}
