"""Recipes: from ingredients, and what their parameters' names say, to a soup. One file each.

Beside the ingredients a recipe may take a `judge`, the `base` that all were fine-tuned from, their
`fishers`, and an `objective` to learn by; what has no default is required.
"""

from collections.abc import Callable

from soup.recipes.dare import dare
from soup.recipes.fisher import fisher
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.recipes.learned import learned
from soup.recipes.model_stock import stock
from soup.recipes.pruned import pruned
from soup.recipes.removal import removal
from soup.recipes.repetition import repetition
from soup.recipes.slerp import slerp
from soup.recipes.task_arithmetic import task
from soup.recipes.ties import ties
from soup.recipes.uniform import uniform
from soup.recipes.wise_ft import interpolate

RECIPES: dict[str, Callable[..., Soup]] = {
    "uniform": uniform,
    "greedy": greedy,
    "removal": removal,
    "repetition": repetition,
    "pruned": pruned,
    "learned": learned,
    "stock": stock,
    "interpolate": interpolate,
    "fisher": fisher,
    "slerp": slerp,
    "task": task,
    "ties": ties,
    "dare": dare,
}
