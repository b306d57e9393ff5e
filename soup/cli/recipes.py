"""soup recipes: what there is to choose from."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from soup.cli.options import Json
from soup.errors import BadInput

HELDOUT = dict.fromkeys(("judge", "objective", "fishers", "predictions"), "--heldout")
NEEDS = {**HELDOUT, "base": "--base"}
GIVEN = ("ingredients", "accumulate", "depth")  # not by --set


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A recipe, to be explained.", metavar="[NAME]")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes: when to use each, what it needs, which options it has.

    An option of a recipe is given to 'soup cook' as --set name=value. With the name of a recipe its
    paper and equation are printed, and what each option means.
    """
    from soup.cli.terminal import print_json, say, table
    from soup.recipes import RECIPES

    if name is not None and name not in RECIPES:
        raise BadInput(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    shown = RECIPES if name is None else {name: RECIPES[name]}
    rows = [(key, *_summary(recipe)) for key, recipe in shown.items()]
    columns = ("name", "when", "needs", "options")
    found: list[dict[str, Any]] = [dict(zip(columns, row, strict=True)) for row in rows]
    if name is None:
        if as_json:
            print_json(found)
        else:
            table("recipes", ["name", "when", "needs", "options (--set)"], rows)
        return
    about = (sys.modules[shown[name].__module__].__doc__ or "").strip()
    options = _options(shown[name])
    if as_json:
        names = ("option", "value", "default", "meaning")
        settings = [dict(zip(names, row, strict=True)) for row in options]
        print_json(found[0] | {"about": about, "options": settings})
        return
    say(about, "\n")
    say(found[0]["when"])
    if options:
        table("options (--set name=value)", ["option", "value", "default", "meaning"], options)


def _summary(recipe: Callable[..., Any]) -> tuple[str, str, str]:
    """When to use a recipe, the options of `soup cook` that it needs, and its own."""
    parameters = inspect.signature(recipe).parameters
    required = {n for n, p in parameters.items() if p.default is p.empty}
    flags = sorted({flag for n, flag in NEEDS.items() if n in required})
    when = (recipe.__doc__ or "").strip().splitlines()[0]
    return when, " ".join(flags), " ".join(n for n in parameters if n not in {*NEEDS, *GIVEN})


def _options(recipe: Callable[..., Any]) -> list[tuple[str, str, str, str]]:
    """The name, the kind of value, the default and the meaning of each option of a recipe."""
    text = inspect.getdoc(recipe) or ""
    told = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    entries = re.split(r"^ {4}(?=\S)", told[1] if told else "", flags=re.MULTILINE)
    meaning: dict[str, str] = {}
    for entry in filter(None, entries):
        names, _, meant = entry.partition(":")
        meaning |= dict.fromkeys(names.split(", "), " ".join(meant.split()))
    return [
        (n, _kind(p.annotation), "" if p.default is None else str(p.default), meaning.get(n, ""))
        for n, p in inspect.signature(recipe).parameters.items()
        if n not in {*NEEDS, *GIVEN}
    ]


def _kind(annotation: Any) -> str:
    """The values of an option, for people."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            return ", ".join(map(str, get_args(kind)))
        if kind in (int, float):
            return "integer" if kind is int else "number"
    return "text"
