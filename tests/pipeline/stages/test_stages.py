"""The stages as functions, on a real MLflow store, without Prefect."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
from huggingface_hub import ModelCard

from soup import tracking
from soup.config.recipe import Recipe
from soup.data.sources.folders import DataError
from soup.errors import BadInput
from soup.evaluation.count_tests import Answers
from soup.evaluation.promotion_gate import packed, unpacked
from soup.pipeline import study_bench
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.stages import cook, evaluate, probe, register, report
from soup.pipeline.sweep.opening import open_sweep
from soup.tracking import TrackingError, folders
from tests.pipeline.projects import Silent, champion_of, record, swept_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the sweep is done."""
    return swept_project(tmp_path_factory.mktemp("project"))


def test_nothing_before_evaluate_can_see_test_or_shifts(swept: Project, tmp_path: Path) -> None:
    """With test, shifts and their manifest gone, a sweep and cook give the same as with them."""
    root = tmp_path / "blind"
    shutil.copytree(
        swept.root, root, ignore=shutil.ignore_patterns("mlflow.db", "mlruns", ".cache")
    )
    blind = Project(root, swept.params)
    blind.evaluation.unlink()
    blind.protocols.unlink()
    shutil.rmtree(root / "data" / "test")
    shutil.rmtree(root / "data" / "dark")
    record(blind, "probe", probe.run(blind))
    sweep = open_sweep(blind, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(blind, "finetune", sweep.close(outcomes))
    seeing, unseeing = cook.run(swept, "a"), cook.run(blind, "b")
    assert unseeing["kept"] == seeing["kept"]
    assert unseeing["errors"] == seeing["errors"]
    weights = [p.out / "soup" / "model.safetensors" for p in (swept, blind)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    record(blind, "cook", unseeing)
    with pytest.raises(DataError, match=r"evaluation\.csv is not a split manifest"):
        evaluate.run(blind, "c")


def test_runs_of_another_base_are_not_cooked_together(swept: Project) -> None:
    store = swept.store()
    finetune = swept.out / "finetune.json"
    plain = finetune.read_text()
    sweep = json.loads(plain)
    stranger = store.start("ingredient", "stranger", "stranger", {"base": "another", "split": "s"})
    store.log(stranger, 0, {"heldout/errors": 1, "heldout/accuracy": 0.9})
    store.end(stranger)
    sweep["runs"]["stranger"] = stranger
    finetune.write_text(json.dumps(sweep))
    try:
        with pytest.raises(TrackingError, match=r"do not share their initialisation: .*stranger"):
            cook.run(swept, "d")
    finally:
        finetune.write_text(plain)


def test_changed_weights_are_named_and_not_cooked(swept: Project) -> None:
    store = swept.store()
    runs = json.loads((swept.out / "finetune.json").read_text())["runs"]
    model_id = store.get([runs["ft-001"]])[0].model_id
    file = folders(store, {model_id: {}}, swept.cache)[model_id] / "model.safetensors"
    plain = file.read_bytes()
    file.write_bytes(plain[:-1] + bytes([plain[-1] ^ 1]))
    try:
        with pytest.raises(TrackingError, match=r"model\.safetensors is not what was stored"):
            cook.run(swept, "e")
    finally:
        file.write_bytes(plain)


def test_a_soup_that_was_changed_is_named_and_not_evaluated(swept: Project) -> None:
    record(swept, "cook", cook.run(swept, "changed"))
    file = swept.out / "soup" / "model.safetensors"
    plain = file.read_bytes()
    file.write_bytes(plain[:-1] + bytes([plain[-1] ^ 1]))
    try:
        with pytest.raises(TrackingError, match=r"soup/model\.safetensors is not what was cooked"):
            evaluate.run(swept, "changed")
    finally:
        file.write_bytes(plain)
    mine = [
        run
        for run in swept.store().client.search_runs([swept.store().experiment_id])
        if run.data.tags.get("soup.digest", "").startswith("changed-")
    ]
    assert {run.info.status for run in mine} == {"FAILED"}


def test_an_ingredient_and_a_soup_of_it_alone_have_the_same_figures(swept: Project) -> None:
    finetune = swept.out / "finetune.json"
    plain = finetune.read_text()
    sweep = json.loads(plain)
    sweep["runs"] = {name: run for name, run in sweep["runs"].items() if name == "ft-000"}
    finetune.write_text(json.dumps(sweep))
    try:
        record(swept, "cook", cook.run(swept, "alone"))
        assert evaluate.run(swept, "alone")["members"] == 1
    finally:
        finetune.write_text(plain)
    cooked = read_record(swept.out / "cook.json")
    card = ModelCard.load(swept.out / "soup" / "README.md")
    assert f"| ft-000 | {cooked['digests']['ft-000']} |" in card.text
    [held] = card.data.eval_results
    assert held.metric_value == pytest.approx(1 - cooked["errors"] / cooked["examples"])
    assert card.data.license is None  # nobody states that of embedded weights
    opened = timm.create_model(f"local-dir:{swept.out / 'soup'}", pretrained=True)
    assert opened.num_classes == len(swept.classes())
    results = pd.read_csv(swept.out / "results.csv").drop(columns="kind").set_index("model")
    expected = results.loc["ft-000"].reset_index(drop=True)
    for name in set(results.index) - {"zero-shot"}:
        pd.testing.assert_frame_equal(results.loc[name].reset_index(drop=True), expected)


def test_a_study_fetches_the_best_fine_tune_of_another_sweep_alone(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, fetched = read_record(swept.out / "finetune.json")["runs"], []
    ranking = [("probe", 0.0), *swept.store().ranking({"ft-001": runs["ft-001"]})]
    monkeypatch.setattr(tracking.Store, "ranking", lambda *_: ranking)
    fetch = study_bench.ingredients

    def noted(store: tracking.Store, run_ids: list[str], cache: Path) -> list[tracking.Stored]:
        fetched.extend(run_ids)
        return fetch(store, run_ids, cache)

    monkeypatch.setattr(study_bench, "ingredients", noted)
    assert study_bench.best_of(swept, "FILE").name == "ft-001"  # the probe is no fine-tune
    assert fetched == [runs["ft-001"]]
    monkeypatch.setattr(tracking.Store, "ranking", lambda *_: ranking[:1])
    with pytest.raises(BadInput, match="no fine-tune has a held-out score\nto make them again"):
        study_bench.best_of(swept, "FILE")


def test_a_worse_challenger_does_not_become_champion(swept: Project) -> None:
    """The uniform soup of this sweep is no better than the greedy one, and the greedy one is."""
    recipes = ("uniform", "greedy")
    ways = {
        recipe: replace(
            swept,
            params=swept.params.model_copy(
                update={
                    "soup": swept.params.soup.model_copy(update={"recipe": Recipe(name=recipe)})
                }
            ),
        )
        for recipe in recipes
    }
    errors = {}

    def registered(recipe: str, digest: str) -> dict[str, Any]:
        cooked = cook.run(ways[recipe], digest)
        record(swept, "cook", cooked)
        record(swept, "evaluate", evaluate.run(ways[recipe], digest))
        done = register.run(ways[recipe])
        record(swept, "register", done)
        version = champion_of(swept, done["version"])
        errors[recipe] = int(version.tags["errors"])
        assert errors[recipe] == cooked["errors"]
        assert int(version.tags["examples"]) == cooked["examples"]
        return done

    first = registered("greedy", "f")
    assert first["promoted"]
    soup = swept.store().client.get_run(first["run_id"])
    used = {each.dataset.name: each.tags[0].value for each in soup.inputs.dataset_inputs}
    assert used == {
        "data/heldout": "heldout",
        "data/test": "test",
        "data/dark": "shift dark",
    }
    kept = [run.model_id for run in soup.inputs.model_inputs]
    for model_id in (*kept, soup.data.tags["soup.model_id"]):
        metrics = swept.store().client.get_logged_model(model_id).metrics
        found = {metric.key: metric.dataset_name for metric in metrics}
        assert found["heldout/accuracy"] == "data/heldout"
        assert found["test/accuracy"] == "data/test"
        assert found["shift/dark/nll"] == "data/dark"
    again = register.run(swept)
    assert (again["version"], again["promoted"]) == (first["version"], False)
    second = registered("uniform", "g")
    assert errors["uniform"] >= errors["greedy"]
    assert not second["promoted"]
    told = f"{errors['uniform']} held-out errors against {errors['greedy']} of champion 1, of 30"
    assert second["reason"].startswith(told)
    assert "exact McNemar" in second["reason"]
    assert report.run(swept)["summary"].endswith("report.html")
    store, model = swept.store(), swept.params.registry.model
    what = [(e.what, e.number) for e in tracking.history(store, model)]
    assert what == [("promoted", first["version"]), ("refused", second["version"])]


def test_a_trace_of_an_earlier_version_is_named_by_the_report(swept: Project) -> None:
    trace = swept.out / "trace.csv"
    text = trace.read_text()
    try:
        trace.write_text(text.replace("examples_seen", "looked_at"))
        with pytest.raises(
            BadInput, match=r"trace\.csv has no column examples_seen: .*another ver"
        ):
            report.run(swept)
    finally:
        trace.write_text(text)


def test_a_champion_known_on_other_images_answers_again(swept: Project) -> None:
    store, model = swept.store(), swept.params.registry.model
    held = tracking.champion(store, model)
    assert held is not None
    challenger = champion_of(swept, "2")
    right = unpacked(challenger.tags["correct"])
    assert right is not None
    store.client.set_model_version_tag(model, held.number, "soup.split", "another")
    store.client.set_model_version_tag(model, held.number, "soup.correct", packed(~right))
    labels = np.zeros(len(right), dtype=np.int64)
    own = register.Answered(right, Answers(labels, labels))
    decision = register.promote(swept, store, challenger, own)
    assert f"against {held.tags['errors']} of champion {held.number}" in decision.reason
    weights = next((swept.cache / "champions").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")  # of the cache: it is fetched again
    assert register.promote(swept, store, challenger, own) == decision
