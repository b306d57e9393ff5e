"""A recipe in a parameter file, by its name and options."""

import inspect
import types
import typing
from typing import Any, Literal, get_args, get_origin

import pytest

from soup.config.params import parse
from soup.config.recipe import Recipe
from soup.config.recipe_signatures import recipe_names, signature
from soup.recipes import RECIPES
from tests.config.given import given, problems

PLAIN = (int, float, str, bool, type(None))


def plain(kind: Any) -> bool:
    if get_origin(kind) in (typing.Union, types.UnionType):
        return all(plain(part) for part in get_args(kind))
    return get_origin(kind) is Literal or kind in PLAIN


def test_names_are_those_of_the_recipes() -> None:
    assert recipe_names() == tuple(RECIPES)


@pytest.mark.parametrize("name", [*RECIPES])
def test_what_is_read_from_the_source_is_what_the_function_takes(name: str) -> None:
    found = signature(name)
    _, *parameters = inspect.signature(RECIPES[name], eval_str=True).parameters.values()
    options = {p.name: p.annotation for p in parameters if plain(p.annotation)}
    assert dict(found.options) == options
    assert found.needs == tuple(p.name for p in parameters if p.name not in options)
    assert found.required == tuple(p.name for p in parameters if p.default is p.empty)
    assert found.purpose == (RECIPES[name].__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(
    ("given_as", "told"),
    [
        ("gredy", "unknown recipe 'gredy'; did you mean greedy?; known: uniform, greedy"),
        ({"name": "learned", "epoch": 5}, "learned has no option 'epoch'; it has by, epochs"),
        ({"name": "stock", "epochs": 5}, "stock has no option 'epochs'; it has none"),
        ({"name": "learned", "epochs": "five"}, "learned: epochs: must be a whole number, got"),
        ({"name": "learned", "by": "leyer"}, "learned: by: must be 'global', 'layer' or 'tensor'"),
        ({"epochs": 3}, "a recipe needs a name, one of uniform, greedy"),
        (5, "must be a table of keys, got 5"),
    ],
)
def test_what_is_wrong_is_told_with_what_there_is(given_as: Any, told: str) -> None:
    (chosen,) = problems(soup__recipe=given_as)
    assert chosen.startswith(f"soup.recipe: {told}")
    (compared,) = problems(soup__compare=["uniform", given_as])
    assert compared.startswith(f"soup.compare.1: {told}")


def test_options_have_the_type_that_the_recipe_declares() -> None:
    recipe = Recipe.model_validate({"name": "learned", "epochs": "3", "memory": "1e9"})
    assert recipe.options == {"epochs": 3, "memory": 1e9}


def test_parameters_are_read_again_as_they_are_written() -> None:
    recipes = ["uniform", {"name": "learned", "by": "layer"}]
    params = parse(given(soup__recipe="pruned", soup__compare=recipes))
    written = params.model_dump(mode="json", by_alias=True)
    assert written["soup"]["recipe"] == "pruned"
    assert written["soup"]["compare"] == recipes
    assert parse(written) == params


def test_recipes_are_told_apart_by_the_options_that_are_given() -> None:
    params = parse(given(soup__recipe={"name": "learned", "by": "global"}, soup__compare="learned"))
    labels = [recipe.label for recipe in params.soup.recipes]
    assert labels == ["learned", "learned (by global)"]
    (told,) = problems(soup__compare=["learned", "learned"])
    assert told == "soup: compare has learned twice"


def test_tie_is_that_of_recipes_that_are_given_none() -> None:
    soup = parse(given(soup__tie="reject")).soup
    own = Recipe.model_validate({"name": "greedy", "tie": "keep"})
    assert soup.with_tie(soup.recipe).options == {"tie": "reject"}
    assert soup.with_tie(own).options == {"tie": "keep"}
    assert soup.with_tie(Recipe(name="pruned")).options == {}
