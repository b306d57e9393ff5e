"""Recipes: functions that merge ingredients (fine-tuned models) into a soup; one file each.

Every recipe takes the ingredients first. The names of its other parameters say what it needs: a
`judge` (counts held-out errors), the `base` (weights that all ingredients were fine-tuned from),
`fishers` (Fisher information of each ingredient), an `objective` (held-out loss with gradients) or
`predictions` (held-out logits of each ingredient).
A parameter without a default is required.
"""

from collections.abc import Callable

from soup.recipes.dare import dare
from soup.recipes.fisher import fisher
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.learned import learned
from soup.recipes.mehl import mehl
from soup.recipes.model_stock import stock
from soup.recipes.monosoup import monosoup
from soup.recipes.pruned import pruned
from soup.recipes.radin import radin
from soup.recipes.removal import removal
from soup.recipes.repetition import repetition
from soup.recipes.slerp import slerp
from soup.recipes.task_arithmetic import task
from soup.recipes.ties import ties
from soup.recipes.uniform import uniform
from soup.recipes.wise_ft import interpolate

__all__ = ["RECIPES", "Ingredient", "Soup", "Trial", "greedy", "uniform"]

RECIPES: dict[str, Callable[..., Soup]] = {
    "uniform": uniform,
    "greedy": greedy,
    "removal": removal,
    "repetition": repetition,
    "pruned": pruned,
    "radin": radin,
    "learned": learned,
    "mehl": mehl,
    "stock": stock,
    "interpolate": interpolate,
    "monosoup": monosoup,
    "fisher": fisher,
    "slerp": slerp,
    "task": task,
    "ties": ties,
    "dare": dare,
}
