"""MEHL-Soup+: free shares for each tensor, learned with few models in memory.

Li et al., "Learning scalable model soup on a single GPU", ECCV 2024 (arXiv 2407.03641): from m of
the K models at a time,

    P_ig = (theta_ig - centre_g) / norm(theta_ig - centre_g)    for model i and tensor g,
    theta_g = centre_g + sum_i X_ig P_ig,    min over X of the held-out loss of theta,

so that the shares sum to 1 and may be negative: a hyperplane, where `learned` has convex sums. The
gradient by X_ig is the inner product of P_ig with the model's gradient, as no graph over the models
is built. As published: 18 of 72 models at a time, in random order; X starts at 0; AdamW, lr 0.01,
no weight decay, batches of 128; the rate rises over the first fifth of the steps and then falls as
half a cosine; the model's gradient is clipped to norm 1; 5 epochs; then the next m, and the centre
is where the last ones led.

Our decisions: the first centre is the mean of all models, not of the first m, so that tensors
without a gradient (statistics of BatchNorm) have equal shares. A part of the held-out set is not
trained on, as in `learned`: the best of all points that were checked is kept (the mean of all, if
no other is better), m models are left after 2 epochs without a better check, and the next start
from the best point. A model equal to the centre in a tensor has no direction there. With
`units="distance"` the directions of a tensor have the mean distance of the models from the centre
instead of norm 1, so that a rate suits short and long fine-tunes, small and large tensors alike.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from soup.recipes.blending import weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.recipes.learned import Learned, Objective, finite, soup_of_shares
from soup.threads import one_thread
from soup.weights import Weights, average, specs
from soup.weights.directions import Directions, reciprocal
from soup.weights.kinds import averaged
from soup.weights.merged import prepare
from soup.weights.numbers import numbers

WARM_UP = 0.2  # share of the steps
CLIP = 1.0  # norm of the model's gradient
PATIENCE = 2  # epochs
Units = Literal["norm", "distance"]


def mehl(
    ingredients: Sequence[Ingredient],
    objective: Objective,
    judge: Judge | None = None,
    m: int = 18,
    epochs: int = 5,
    lr: float = 0.01,
    batch: int = 128,
    seed: int = 0,
    units: Units = "norm",
    memory: float = 0.0,
) -> Soup:
    """Learn free shares of each tensor, m models at a time: better than learned, in less memory.

    In memory are three models, whatever K: the network, its gradient and the centre. The soup is
    mixed with the shares in float64, from the ingredients.

    Args:
        ingredients: all of them take part, m at a time.
        objective: the held-out loss.
        judge: counts the errors of the soup, if given.
        m: how many models are trained on at a time; all, if there are no more.
        epochs: the most passes over the training part of the held-out set for each m models.
        lr: the highest learning rate.
        batch: examples in a step.
        seed: of the order of models.
        units: of the rate: "norm" (as published) moves a tensor by `lr`, "distance" by this share
            of the mean distance of its models from the centre.
        memory: bytes of the m models' differences from the centre to keep on the objective's
            device; those of other tensors are read for every step. All of them take m times the
            memory of a model.

    Raises:
        Unusable: there are no ingredients, two have the same name, or a number is out of range.
        Incompatible: names or shapes differ.
        NotFinite: a tensor or the loss holds NaN or infinite numbers.
    """
    result = descend(ingredients, objective, m, epochs, lr, batch, seed, units, memory)
    return soup_of_shares(ingredients, result, judge)


def descend(
    ingredients: Sequence[Ingredient],
    objective: Objective,
    m: int = 18,
    epochs: int = 5,
    lr: float = 0.01,
    batch: int = 128,
    seed: int = 0,
    units: Units = "norm",
    memory: float = 0.0,
) -> Learned:
    """Find shares of the ingredients, of any sign, that minimise the objective.

    Args:
        ingredients, objective, m, epochs, lr, batch, seed, units, memory: see
            `mehl`.

    Returns:
        A group for each tensor; the beta is 1.

    Raises:
        Unusable, Incompatible, NotFinite: see `mehl`.
    """
    names, models = [i.name for i in ingredients], weights_of(ingredients)
    for option, value in {"m": m, "epochs": epochs, "lr": lr, "batch": batch}.items():
        if not value > 0:
            raise Unusable(f"{option} of mehl is a number above 0, not {value}")
    if units not in ("norm", "distance"):
        raise Unusable(f"unknown units {units!r}; known: norm (as published), distance")
    descent = Descent(models, objective, epochs, lr, batch, units, memory)
    order = torch.randperm(len(models), generator=torch.Generator().manual_seed(seed)).tolist()
    for start in range(0, len(models), m):
        descent.follow(order[start : start + m])
    rows = zip(descent.centre, descent.shares.tolist(), strict=True)
    shares = {group: dict(zip(names, row, strict=True)) for group, row in rows}
    groups = {name: s.tied for name, s in descent.specs.items() if s.tied in shares}
    return Learned(groups, shares, 1.0, tuple(descent.losses), tuple(descent.checks))


class Descent:
    """Where the descent is: the centre, and the shares that make it.

    Attributes:
        specs: dtype, shape and ties of the tensors of the models that are judged.
        centre: the numbers of each averaged tensor, flat.
        shares: of each model in each tensor of the centre, float64 (tensors, K).
        losses, checks: as in `Learned`.
    """

    def __init__(
        self,
        models: Sequence[Weights],
        objective: Objective,
        epochs: int,
        lr: float,
        batch: int,
        units: Units,
        memory: float = 0.0,
    ) -> None:
        """Start from the mean of all models; the arguments are those of `descend`."""
        exact = {spec.dtype for model in models for spec in specs(model).values()}
        dtype = torch.float64 if exact & {torch.float64, torch.complex128} else torch.float32
        self._models, self.specs = prepare(models, dtype)
        self._objective, self._epochs, self._lr, self._batch = objective, epochs, lr, batch
        self._units, self._memory = units, memory
        mean = average(self._models, dtype=dtype)
        self.centre = {
            name: numbers(mean[name]).to(objective.device, copy=True)
            for name, spec in self.specs.items()
            if averaged(spec.dtype) and spec.tied == name
        }
        shape = len(self.centre), len(models)
        self.shares = torch.full(shape, 1 / len(models), dtype=torch.float64)
        self.losses: list[float] = []
        self.checks: list[float] = []
        self._passes = 0

    @one_thread()
    def follow(self, chosen: Sequence[int]) -> None:
        """Train on the models with these indices, and move the centre to the best point."""
        models = [self._models[i] for i in chosen]
        directions = Directions(models, self.centre, self.specs, self._memory)
        best = self._trained(directions, len(chosen))
        for row, (name, flat) in enumerate(self.centre.items()):
            flat.copy_(directions.moved(name, best[row]))
            factors = best[row] * reciprocal(directions.norms[name])
            self.shares[row] *= 1 - factors.sum()
            self.shares[row, list(chosen)] += factors

    def _trained(self, directions: Directions, m: int) -> Tensor:
        """Return the coordinates (tensors, m) of the best point; of the last without checks."""
        rows = {name: row for row, name in enumerate(self.centre)}
        x = torch.zeros(len(rows), m, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.AdamW([x], lr=self._lr, weight_decay=0.0)
        norms = torch.stack([*directions.norms.values()]) if rows else x.detach()
        length = norms.mean(dim=1, keepdim=True) if self._units == "distance" else 1.0

        def point() -> Weights:
            return directions.point(dict(zip(rows, x.detach() * length, strict=True)))

        if not self.checks:
            self._better(point())
        best, epochs_without_gain, step = x.detach().clone(), 0, 0
        for _ in range(self._epochs):
            batches = [*self._objective.batches(self._passes, self._batch)]
            self._passes += 1
            for batch in batches:
                gradients = self._objective(point(), 1.0, batch)
                self.losses.append(finite(gradients.loss, len(self.losses)))
                x.grad = torch.zeros_like(x)
                for name, products in directions.products(gradients.weights).items():
                    x.grad[rows[name]] = products
                x.grad *= length * min(1.0, CLIP / norm_of(gradients.weights))
                del gradients  # else there would be two at a time
                optimizer.param_groups[0]["lr"] = self._lr * rate(step, self._epochs * len(batches))
                optimizer.step()
                step += 1
            if self._better(point()):
                best, epochs_without_gain = x.detach().clone(), 0
            elif (epochs_without_gain := epochs_without_gain + 1) == PATIENCE:
                break
        return best * length

    def _better(self, weights: Weights) -> bool:
        """Whether the check of these weights is the lowest so far; true if nothing is checked."""
        loss = self._objective.check(weights, 1.0)
        if loss is None:
            return True
        lowest = min(self.checks, default=math.inf)
        self.checks.append(finite(loss, len(self.losses)))
        return loss < lowest


def norm_of(gradients: Weights) -> float:
    """Return the norm of all gradients together; 1 if it is 0."""
    norms = [gradient.norm() for gradient in gradients.values()]
    return float(torch.stack(norms).norm()) or 1.0 if norms else 1.0


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step (from 0), as a share of the highest."""
    warm = int(WARM_UP * steps)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
