"""Each way to spoil a soup is planted, and must be named with its numbers."""

import json
import math

import pytest

from soup.evaluation.diagnosis.explain import explain
from soup.evaluation.diagnosis.finding import Finding
from soup.weights import average
from tests.evaluation.diagnosis.networks import BASE, near, noise, reordered, task

GOOD = {name: near(seed) for seed, name in enumerate("ABCD", start=10)}


def by_kind(found: list[Finding]) -> dict[str, Finding]:
    kinds = {one.kind: one for one in found}
    assert len(kinds) == len(found)
    strengths = [one.strength for one in found]
    assert strengths == sorted(strengths, reverse=True)
    assert all(0 <= strength <= 1 for strength in strengths)
    json.dumps([one.evidence for one in found], allow_nan=False)
    assert all(one.summary and one.remedy for one in found)
    return kinds


def test_where_all_is_well_nothing_is_found_and_the_gain_is_told() -> None:
    held = task(2000)
    found = by_kind(explain(GOOD, BASE, correct=held.correct))
    assert list(found) == ["nothing"]
    best = max(held.correct(model).mean() for model in GOOD.values())
    gain = 100 * (held.correct(average([*GOOD.values()])).mean() - best)
    assert gain > 1
    assert f"the average gains {gain:.2f} ± " in found["nothing"].summary


def test_each_model_is_scored_once_and_each_middle() -> None:
    held = task(50)
    explain(GOOD, correct=held.correct)
    assert held.asked == 4 + 3 + 1


def test_without_data_nothing_can_be_said_of_barriers() -> None:
    found = by_kind(explain(GOOD))
    assert "without held-out data" in found["nothing"].summary


@pytest.mark.parametrize("base", [None, BASE])
def test_a_model_of_another_base_is_named_and_the_barrier_to_it(base: dict | None) -> None:
    models = {"stranger": reordered(near(20)), **GOOD}
    held = task(1000)
    found = by_kind(explain(models, base, correct=held.correct))
    assert set(found) == {"unrelated", "barrier"}
    assert "stranger does not share its initialisation with" in found["unrelated"].summary
    assert set(found["unrelated"].evidence) == set(found["barrier"].evidence) == {"stranger"}
    assert f"{100 * found['barrier'].evidence['stranger']['excess']:.1f} ± " in (
        found["barrier"].summary
    )


def test_a_model_trained_too_hot_is_named_with_its_learning_rate() -> None:
    models = {"hot": near(20, by=0.65), **GOOD}
    metadata = {name: {"lr": "1e-5"} for name in GOOD} | {"hot": {"lr": "3e-3"}}
    metadata["A"] = {"lr": "cosine"}
    found = by_kind(explain(models, BASE, metadata=metadata))
    assert list(found) == ["learning rate"]
    assert found["learning rate"].summary.startswith("hot went ")
    assert "with a learning rate of 0.003 against 1e-05" in found["learning rate"].summary


def test_models_that_are_merely_worse_are_named() -> None:
    poor = {"poor": near(20, by=0.3)}
    best = {"best": near(10, by=0.05)}
    found = by_kind(explain(best | poor, correct=task(300).correct))
    assert list(found) == ["weak"]
    assert found["weak"].summary.startswith("poor is ")


def test_one_model_given_twice_is_named() -> None:
    copy = {name: x.clone() for name, x in GOOD["A"].items()}
    found = by_kind(explain(GOOD | {"copy": copy}))
    assert list(found) == ["twice"]
    assert "A and copy are one model" in found["twice"].summary


def test_classes_in_another_order_are_named() -> None:
    order = [1, 0, *range(2, 10)]
    swapped = GOOD["B"] | {"head.weight": GOOD["B"]["head.weight"][order]}
    held = task(300)
    found = by_kind(explain(GOOD | {"B": swapped}, correct=held.correct))
    assert next(iter(found)) == "order of classes"
    assert found["order of classes"].summary.startswith("2 of the classes of B stand in another")
    assert found["order of classes"].evidence["B"]["moved"] == [0, 1]


def test_a_fresh_head_on_a_shared_backbone_is_named() -> None:
    fresh = GOOD["B"] | {"head.weight": noise(30)["head.weight"]}
    found = by_kind(explain(GOOD | {"B": fresh}))
    assert list(found) == ["head"]
    assert "the head of B points another way than A's" in found["head"].summary


def test_a_held_out_set_that_is_too_small_is_named_with_what_would_do() -> None:
    held = task(40)
    models = {name: near(seed, 0.1) for seed, name in enumerate("ABCD", start=10)}
    found = by_kind(explain(models, BASE, correct=held.correct))
    assert list(found) == ["noise"]
    evidence = found["noise"].evidence
    assert evidence["examples"] == 40
    assert abs(evidence["gain"]) < evidence["smallest"]
    assert evidence["smallest"] >= 4 / 40
    assert found["noise"].summary.startswith("40 held-out examples are too few to tell")


def test_a_broken_model_does_not_hide_the_others() -> None:
    broken = {name: x * float("inf") for name, x in near(20).items()}
    held = task(1000)
    models = {"broken": broken, "stranger": reordered(near(21)), **GOOD}
    found = by_kind(explain(models, correct=held.correct))
    assert set(found) == {"broken", "unrelated", "barrier"}
    assert found["broken"].evidence["models"] == ["broken"]


@pytest.mark.parametrize("judged", [False, True])
def test_models_that_are_all_broken_are_named(judged: bool) -> None:
    models = {name: {tensor: x * math.nan for tensor, x in near(20).items()} for name in ("A", "B")}
    correct = task(20).correct if judged else None
    assert by_kind(explain(models, correct=correct))["broken"].evidence == {"models": ["A", "B"]}


def test_one_model_is_nothing_to_average() -> None:
    found = by_kind(explain({"A": GOOD["A"]}, correct=task(20).correct))
    assert "no two models" in found["nothing"].summary
