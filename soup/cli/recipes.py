"""soup recipes: what there is to choose from."""

from soup.cli.cook_options import parameters_of
from soup.cli.terminal import print_json, table
from soup.recipes import RECIPES

NEEDS = {"judge": "--heldout", "objective": "--heldout", "fishers": "--heldout", "base": "--base"}


def recipes(as_json: bool) -> None:
    """From the recipes' own docstrings and signatures."""
    rows = []
    for name, recipe in RECIPES.items():
        own = parameters_of(recipe)
        needs = [flag for p, flag in NEEDS.items() if p in own and own[p].default is own[p].empty]
        takes = [p for p in own if p not in {*NEEDS, "ingredients", "accumulate"}]
        when = (recipe.__doc__ or "").strip().splitlines()[0]
        rows.append((name, when, " ".join(sorted(set(needs))), " ".join(takes)))
    if as_json:
        columns = ("name", "when", "needs", "options")
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        table("recipes", ["name", "when", "needs", "options (--set)"], rows)
