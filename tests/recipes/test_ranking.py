"""Ingredients are tried best first, equals in the given order, the unscored not at all."""

from math import isnan

import pytest
from hypothesis import given

from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.ranking import ranked
from tests import reference
from tests.strategies import NAN, pools


@given(pools())
def test_the_order_is_that_of_the_paper(pool: list[Ingredient]) -> None:
    scored = [reference.Candidate(i.name, {}, -i.errors) for i in pool if not isnan(i.errors)]
    assert [i.name for i in ranked(pool)] == [c.name for c in reference.best_first(scored)]


def test_a_pool_without_a_score_is_an_error_that_counts_it() -> None:
    with pytest.raises(Unusable, match="no ingredient with a held-out score among 2"):
        ranked([Ingredient("a", {}, NAN), Ingredient("b", {}, NAN)])


def test_names_given_twice_are_all_listed() -> None:
    pool = [Ingredient(name, {}, 1) for name in ["b", "a", "c", "b", "a"]]
    with pytest.raises(Unusable, match=r"of the same name: a, b; give each a name of its own$"):
        ranked(pool)
