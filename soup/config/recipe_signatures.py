"""The recipes with their options, read from the source of `soup/recipes`.

Importing `soup.recipes` would import torch, which takes seconds and is needed for no check of a
parameter file. A new recipe therefore has to be named in `soup.recipes.RECIPES` alone.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parents[1] / "recipes"
PLAIN = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Signature:
    """What a recipe takes beside the ingredients.

    Attributes:
        options: the type of each parameter that a user sets: a number, text, or choice.
        needs: names of the other parameters, which the caller supplies, such as the judge.
        required: those of the two that have no default.
        purpose: when to use the recipe, in a sentence.
    """

    options: Mapping[str, Any]
    needs: tuple[str, ...]
    required: tuple[str, ...]
    purpose: str


@cache
def recipe_names() -> tuple[str, ...]:
    """The keys of `soup.recipes.RECIPES`."""
    return tuple(_table())


@cache
def signature(recipe: str) -> Signature:
    """The signature of a recipe, which is one of `recipe_names`."""
    module, function = _imported("__init__", _table()[recipe])
    (definition,) = [
        node
        for node in _source(module).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    arguments = definition.args
    _ingredients, *positional = arguments.args
    bare = len(positional) - len(arguments.defaults)
    defaults = [None] * bare + [*arguments.defaults] + [*arguments.kw_defaults]
    options: dict[str, Any] = {}
    needs, required = [], []
    for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True):
        name = argument.arg
        try:
            options[name] = _type(argument.annotation, module)
        except NotPlain:
            needs.append(name)
        if default is None:
            required.append(name)
    purpose = (ast.get_docstring(definition) or "").partition("\n")[0]
    return Signature(options, tuple(needs), tuple(required), purpose)


class NotPlain(Exception):
    """A type that is no number, text or choice of these."""


def _type(annotation: ast.expr | None, module: str) -> Any:
    """The type that an annotation of a module names.

    Raises:
        NotPlain: it is no plain one.
    """
    match annotation:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in PLAIN:
            return PLAIN[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left, module) | _type(right, module)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return Literal[tuple(ast.literal_eval(value) for value in values)]
        case ast.Name(id=name):
            return _alias(name, module)
    raise NotPlain


def _alias(name: str, module: str) -> Any:
    """The type that a name stands for in a module, such as `Tie = Literal["keep", "reject"]`."""
    for node in _source(module).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return _type(value, module)
    origin, original = _imported(module, name)
    if origin == module:
        raise NotPlain
    return _alias(original, origin)


def _table() -> dict[str, str]:
    """Of `RECIPES`, the name of each function."""
    for node in _source("__init__").body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="RECIPES"), value=ast.Dict() as table):
                return {
                    ast.literal_eval(key): ast.unparse(value)
                    for key, value in zip(table.keys, table.values, strict=True)
                    if key is not None
                }
    raise LookupError(f"{FOLDER} has no table RECIPES")


def _imported(module: str, name: str) -> tuple[str, str]:
    """The module of `soup.recipes` that a name is imported from, and its name there.

    It is the module itself if it imports no such name from there.
    """
    for node in _source(module).body:
        match node:
            case ast.ImportFrom(module=str(origin), names=names) if origin.startswith(
                "soup.recipes."
            ):
                for alias in names:
                    if (alias.asname or alias.name) == name:
                        return origin.removeprefix("soup.recipes."), alias.name
    return module, name


@cache
def _source(module: str) -> ast.Module:
    return ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
