"""What a careful colleague adds, and only when it is so."""

import math
from collections.abc import Callable
from dataclasses import replace

from soup.report.caveats import caveats
from soup.report.page import Report

Make = Callable[..., Report]


def noted(report: Report) -> list[str]:
    return caveats(report.results, report.ingredients, report.trace, report.recipe)


def lonely(make: Make, **changes: object) -> Report:
    """A report whose greedy soup kept the best model only."""
    report = make(**changes)
    report.ingredients["kept"] = report.ingredients["name"] == "sweet-0"
    report.trace["kept"] = report.trace["step"] == 1
    report.trace.loc[1:, "at_most"] = 170
    report.trace.loc[1:, "heldout_errors"] = [176, math.nan, 173, 175, math.nan]
    return report


def test_nothing_is_noted_when_all_is_well(make: Make) -> None:
    report = make()
    assert noted(make(ingredients=report.ingredients.drop(index=8))) == []


def test_failures_are_counted_without_the_probe(make: Make) -> None:
    (note,) = noted(make())
    assert note == "1 of 9 ingredients failed; the table of ingredients says why."


def test_greedy_kept_only_the_best_says_why(make: Make) -> None:
    why = noted(lonely(make))[1]
    assert why.startswith("Greedy kept only the best model. The uniform soup holds up (92.2%")
    assert "The closest candidate, sweet-3, missed by 3 images." in why
    assert "With 2,000 held-out images an accuracy is known to ±1.2 points" in why
    assert "Learning rates reach from 1e-5 to 0.003" in why


def test_a_collapsed_uniform_soup_is_flagged_and_explains_greedy(make: Make) -> None:
    report = lonely(make)
    report.results.loc[report.results["kind"] == "uniform", "accuracy"] = 0.2
    found = noted(report)
    assert "Averages collapse" in found[1]
    assert found[2].startswith("The uniform soup (20.0% held-out) is worse than its worst")


def test_a_uniform_recipe_is_not_blamed_for_what_greedy_kept(make: Make) -> None:
    assert not any("Greedy" in note for note in noted(lonely(make, recipe="uniform")))


def test_one_finished_ingredient_leaves_nothing_to_average(make: Make) -> None:
    report = make()
    report.ingredients.loc[1:8, ["status", "heldout_accuracy"]] = ["failed", math.nan]
    found = noted(report)
    assert found[0].startswith("8 of 9 ingredients failed")
    assert found[1].startswith("Only one ingredient finished")


def test_imported_ingredients_count_without_hyperparameters(make: Make) -> None:
    report = make()
    told = ["name", "run_id", "url", "status", "reason", "kept", "heldout_accuracy"]
    imported = replace(report, ingredients=report.ingredients[told])
    assert noted(imported) == noted(report)
