"""Recipes get what they need, and one that cannot be cooked is refused before a sweep runs."""

from typing import Any

import pytest

from soup.config.params import parse
from soup.config.recipe import Recipe
from soup.errors import BadInput
from soup.pipeline.cooking import supplies
from soup.pipeline.cooking.supplies import candidates, rehearse, require
from soup.recipes import RECIPES
from soup.recipes.ingredient import Ingredient, Soup
from tests.config.given import given


def asked(*compare: Any, runs: int = 3, **soup: Any) -> None:
    require(parse(given(sweep__runs=runs) | {"soup": {"compare": [*compare], **soup}}))


@pytest.mark.parametrize("name", [*RECIPES])
def test_every_recipe_can_be_rehearsed(name: str) -> None:
    names = ["a", "b"] if name == "slerp" else ["a", "b", "c", "probe"]
    assert rehearse(Recipe(name=name), names).kept


def test_a_recipe_of_two_models_is_refused_where_there_are_more() -> None:
    with pytest.raises(BadInput, match=r"^soup\.compare: slerp: slerp is an arc .* 30 were given$"):
        asked("uniform", "slerp", runs=30)
    asked("slerp", runs=2)  # the probe, which the arc is drawn around, is none of them


def test_all_values_that_recipes_refuse_are_told_at_once() -> None:
    wrong = [{"name": "dare", "drop": 1.5}, {"name": "fisher", "floor": 2}]
    with pytest.raises(BadInput) as error:
        asked(*wrong, recipe={"name": "ties", "density": 0})
    starts = ["soup.compare: dare (drop 1.5): ", "soup.compare: fisher (floor 2.0): "]
    starts.append("soup.recipe: ties (density 0.0): density is the share")
    for line, start in zip(str(error.value).splitlines(), starts, strict=True):
        assert line.startswith(start)


def test_a_recipe_that_needs_what_the_pipeline_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(supplies.SUPPLIES, "fishers")
    with pytest.raises(BadInput, match="fisher: needs fishers, which the pipeline does not have"):
        asked("fisher")


def test_the_base_is_no_candidate_of_recipes_that_start_from_it() -> None:
    params = parse(given(sweep__runs=2, sweep__ema=[0.9]))
    assert candidates(params, Recipe(name="greedy")) == ["0", "1", "2", "3", "probe"]
    assert candidates(params, Recipe(name="stock")) == ["0", "1", "2", "3"]


def test_options_and_supplies_reach_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(ingredients: list[Ingredient], **arguments: Any) -> Soup:
        seen.update(arguments)
        return Soup({}, ("a",), None, ())

    monkeypatch.setitem(RECIPES, "dare", spy)
    made = {"judge": lambda: "J", "base": lambda: "B", "objective": pytest.fail}
    supplies.call(Recipe.model_validate({"name": "dare", "seed": 3}), [], made)
    assert seen == {"judge": "J", "base": "B", "seed": 3}
