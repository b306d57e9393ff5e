"""Model soups: average the weights of fine-tuned models, and prove that it helps."""

from soup.checkpoint import Checkpoint, save
from soup.ingredient import Ingredient, Soup, Trial
from soup.recipes import RECIPES
from soup.recipes.greedy import greedy
from soup.recipes.uniform import uniform
from soup.weights import Incompatible, Weights, average

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
