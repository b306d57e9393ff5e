"""Recipes: from ingredients, and a judge where one is needed, to a soup. One file each."""

from collections.abc import Callable

from soup.ingredient import Soup
from soup.recipes.greedy import greedy
from soup.recipes.uniform import uniform

RECIPES: dict[str, Callable[..., Soup]] = {"uniform": uniform, "greedy": greedy}
