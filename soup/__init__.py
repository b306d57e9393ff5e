"""Model soups: average the weights of fine-tuned models, and prove that it helps."""

from soup.recipes import RECIPES
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.uniform import uniform
from soup.weights import Incompatible, Weights, average
from soup.weights.checkpoint import Checkpoint, save

__all__ = [
    "RECIPES",
    "Checkpoint",
    "Incompatible",
    "Ingredient",
    "Soup",
    "Trial",
    "Weights",
    "average",
    "greedy",
    "save",
    "uniform",
]
