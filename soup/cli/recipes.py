"""soup recipes: what there is to choose from."""

from soup.cli.options import Json

HELDOUT = dict.fromkeys(("judge", "objective", "fishers", "predictions"), "--heldout")
NEEDS = {**HELDOUT, "base": "--base"}
GIVEN = ("ingredients", "accumulate", "depth")  # not by --set


def recipes(as_json: Json = False) -> None:
    """List the recipes: when to use each, what it needs, which options it has.

    An option of a recipe is given to 'soup cook' as --set name=value.
    """
    from soup.cli.cook_options import parameters_of
    from soup.cli.terminal import print_json, table
    from soup.recipes import RECIPES

    rows = []
    for name, recipe in RECIPES.items():
        parameters = parameters_of(recipe)
        required = {n for n, p in parameters.items() if p.default is p.empty}
        flags = sorted({flag for n, flag in NEEDS.items() if n in required})
        settings = [
            n for n in parameters if n not in {*NEEDS, "ingredients", "accumulate", "depth"}
        ]
        when = (recipe.__doc__ or "").strip().splitlines()[0]
        rows.append((name, when, " ".join(flags), " ".join(settings)))
    if as_json:
        columns = ("name", "when", "needs", "options")
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        table("recipes", ["name", "when", "needs", "options (--set)"], rows)
