"""Every recipe through cook and evaluate: the soup of the library, made once, with its cost."""

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from soup.config.recipe import Recipe
from soup.evaluation.averaged_logits import AveragedLogits
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.predict import predict
from soup.models import build
from soup.pipeline import candidate_pool
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.cooking.supplies import call
from soup.pipeline.project import Project
from soup.pipeline.stages import cook, evaluate, register, report
from soup.recipes import RECIPES
from soup.weights.checkpoint import Checkpoint
from tests.pipeline.projects import probed, record, swept

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the sweep is done."""
    return swept(probed(tmp_path_factory.mktemp("project")))


@pytest.fixture(scope="module")
def pool(project: Project) -> CandidatePool:
    return CandidatePool(project, project.store())


def asked(project: Project, recipe: str, compare: list[Any]) -> Project:
    soup = {"recipe": recipe, "compare": compare}
    made = type(project.params.soup).model_validate(soup)
    return replace(project, params=project.params.model_copy(update={"soup": made}))


def errors(logits: torch.Tensor, labels: torch.Tensor) -> int:
    return int((logits.argmax(dim=1) != labels).sum())


@pytest.mark.parametrize("name", [*RECIPES])
def test_a_soup_is_that_of_the_library_called_directly(
    project: Project, pool: CandidatePool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = inspect.signature(RECIPES[name]).parameters
    ranked = [s for s in pool.ranked if "base" not in parameters or s.run.name != "probe"]
    if name == "slerp":
        ranked = ranked[:2]
        monkeypatch.setattr(pool, "ranked", ranked)
    ingredients = [stored.ingredient for stored in ranked]
    model = build(pool.architecture)
    evaluator = Evaluator(pool.heldout, pool.architecture, (model,), 256)
    supplies: dict[str, Any] = {
        "judge": lambda: evaluator.judges([s.correct for s in ranked])[0],
        "base": lambda: Checkpoint(project.out / "probe" / "model.safetensors"),
        "objective": evaluator.objective,
        "fishers": lambda: [evaluator.fisher(i.weights) for i in ingredients],
    }
    if name == "radin":  # repetition has them too, and proposes by them only where it is asked to
        logits = {s.ingredient.name: s.logits for s in ranked}
        supplies["predictions"] = lambda: AveragedLogits(logits, pool.heldout.labels, errors)
    given = {need: make() for need, make in supplies.items() if need in parameters}
    expected = RECIPES[name](ingredients, **given)
    result = pool.cook(Recipe(name=name))
    assert result.kept == expected.kept
    assert {*result.weights} == {*expected.weights}
    for tensor in expected.weights:
        assert torch.equal(result.weights[tensor], expected.weights[tensor]), tensor
    answers = predict(build(pool.architecture, result.weights), pool.heldout).argmax(axis=1)
    assert result.errors == (answers != pool.heldout.labels).sum()
    assert (result.heldout.argmax(axis=1) == answers).all()
    if name not in ("uniform", "greedy"):
        assert result.cost.passes > 0
    assert (result.trace["name"] == [trial.name for trial in expected.trace]).all()
    judged = result.trace["heldout_errors"].notna()
    assert (result.trace["examples_seen"][judged].iloc[1:] == len(pool.heldout)).all()


def test_a_learned_soup_starts_from_the_answers_that_are_kept(pool: CandidatePool) -> None:
    options = {"by": "global", "epochs": 0, "start": "answers"}
    found = pool.cook(Recipe.model_validate({"name": "learned", **options})).shares
    assert found is not None
    (shares,) = found.values()
    evaluator = Evaluator(pool.heldout, pool.architecture, (build(pool.architecture),), 256)
    logits = {s.ingredient.name: s.logits for s in pool.ranked}
    answers = AveragedLogits(logits, pool.heldout.labels, errors)
    expected, _ = answers.best_mean([*shares], [*evaluator.objective().batches(0)])
    assert [*shares.values()] == pytest.approx(expected.softmax(0).tolist(), abs=1e-6)
    assert max(shares.values()) > 2 / len(shares)


def test_a_soup_is_made_once_and_a_new_recipe_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cooked: list[str] = []
    predicted: list[int] = []

    def counted(recipe: Recipe, *rest: Any) -> Any:
        cooked.append(recipe.label)
        return call(recipe, *rest)

    def counted_passes(model: Any, images: Any, *rest: Any) -> Any:
        predicted.append(len(images))
        return predict(model, images, *rest)

    monkeypatch.setattr(candidate_pool, "call", counted)
    monkeypatch.setattr(evaluate, "predict", counted_passes)
    learned = {"name": "learned", "by": "global"}

    def run(recipe: str, compare: list[Any], digest: str) -> dict[str, Any]:
        changed = asked(project, recipe, compare)
        record(project, "cook", cook.run(changed, digest))
        done = evaluate.run(changed, digest)
        record(project, "evaluate", done)
        return done

    shutil.rmtree(project.cache / "soups", ignore_errors=True)
    run("removal", [learned], "a")
    assert cooked == ["removal", "learned (by global)"]
    cooked.clear()
    predicted.clear()
    run("removal", [learned], "b")
    assert (cooked, predicted) == ([], [])
    done = run("removal", ["repetition", learned, "slerp"], "c")
    assert cooked == ["repetition", "slerp"]
    assert [*done["costs"]] == ["repetition", "learned (by global)", "removal"]
    (warning,) = [text for text in done["warnings"] if "slerp" in text]
    assert warning.startswith("no slerp soup to compare with: slerp is an arc between two models")
    cooked.clear()
    run("repetition", [], "d")  # it was compared with before
    assert cooked == []


def test_every_soup_is_tested_and_told_with_its_cost(project: Project) -> None:
    changed = asked(project, "greedy", ["uniform", "interpolate", {"name": "dare", "seed": 1}])
    kinds = ["uniform", "interpolate", "dare (seed 1)", "greedy"]
    record(project, "cook", cook.run(changed, "told"))
    facts = evaluate.run(changed, "told")
    record(project, "evaluate", facts)
    results = pd.read_csv(project.out / "results.csv")
    shown = [*dict.fromkeys(results["kind"])]
    assert [kind for kind in shown if kind in kinds] == kinds
    compared = pd.read_csv(project.out / "compared.csv")
    assert [*dict.fromkeys(compared["recipe"])] == kinds
    own = compared[compared["recipe"] == "greedy"].drop(columns="recipe").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, pd.read_csv(project.out / "tests.csv"))
    accuracy = results.set_index(["kind", "split"])["accuracy"]
    for row in compared.to_dict("records"):
        gain = accuracy[row["recipe"], row["split"]] - accuracy["best single", row["split"]]
        assert row["difference"] == pytest.approx(gain)
    traces = pd.read_csv(project.out / "traces.csv")
    assert {*traces["recipe"]} == {"interpolate", "dare (seed 1)"}  # uniform tries nothing
    assert {*facts["costs"]} == {*kinds}
    store = project.store()
    for kind, cost in facts["costs"].items():
        metrics = store.get([facts["runs"][f"{kind} soup"]])[0].metrics
        assert metrics["cost/passes"] == cost["passes"]
        assert metrics["cost/seconds"] == cost["seconds"]
    # Each alpha is tried on all held-out examples, or to the first error too many.
    seen = traces.loc[traces["recipe"] == "interpolate", "examples_seen"].sum()
    examples = json.loads((project.out / "cook.json").read_text())["examples"]
    assert facts["costs"]["interpolate"]["passes"] == pytest.approx(seen / examples)
    record(project, "register", register.run(changed))
    report.run(changed)
    page = (project.out / "report.html").read_text()
    assert "dare (seed 1) soup" in page
    assert "The search of the interpolate soup" in page


def test_a_base_that_was_changed_is_not_cooked_from(project: Project, tmp_path: Path) -> None:
    file = project.out / "probe" / "model.safetensors"
    plain = file.read_bytes()
    file.write_bytes(plain[:-1] + bytes([plain[-1] ^ 1]))
    try:
        pool = CandidatePool(project, project.store())
        with pytest.raises(Exception, match="is not what the fine-tunes started from"):
            pool.cook(Recipe.model_validate({"name": "task", "scale": 0.5}))
    finally:
        file.write_bytes(plain)


def test_a_kept_soup_that_is_damaged_is_made_again(project: Project, pool: CandidatePool) -> None:
    first = pool.cook(Recipe(name="pruned"))
    assert isinstance(first.weights, Checkpoint)
    file = Path(first.weights.files[0])
    plain = file.read_bytes()
    file.write_bytes(plain[:-1] + bytes([plain[-1] ^ 1]))
    pool.cook(Recipe(name="pruned"))
    assert file.read_bytes() == plain
