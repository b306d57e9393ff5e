"""The stages as functions, on a real MLflow store, without Prefect."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from soup import tracking
from soup.data.sources.folders import DataError
from soup.errors import BadInput
from soup.evaluation.predict import predict
from soup.evaluation.promotion_gate import packed, unpacked
from soup.pipeline.project import Project
from soup.pipeline.stages import cook, evaluate, probe, register, report
from soup.pipeline.sweep.sweep import Sweep
from soup.tracking import TrackingError, folders
from tests.pipeline.projects import Silent, probed, record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the sweep is done."""
    # Passes are counted, which kept predictions would save.
    evaluation = {"bootstrap": 100, "keep_predictions": []}
    project = probed(tmp_path_factory.mktemp("project"), evaluate=evaluation)
    sweep = Sweep.open(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    return project


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
    sweep = Sweep.open(blind, code="code", threads=1)
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


def test_what_is_kept_of_test_and_shifts_costs_no_second_pass(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = swept.params.evaluate.model_copy(update={"keep_predictions": ["test", "dark"]})
    keeping = replace(swept, params=swept.params.model_copy(update={"evaluate": wanted}))
    seen: list[int] = []

    def counted(model: Any, images: Any, *rest: Any) -> Any:
        seen.append(len(images))
        return predict(model, images, *rest)

    monkeypatch.setattr(evaluate, "predict", counted)
    cooked = cook.run(keeping, "k")
    record(swept, "cook", cooked)
    runs = json.loads((swept.out / "finetune.json").read_text())["runs"]
    candidates = {name for name in runs if name != "probe" or swept.params.soup.include_probe}
    soups = 1 if set(cooked["kept"]) == candidates else 2  # the greedy soup may be the uniform one
    tables = []
    for digest in ("one", "two"):
        evaluate.run(keeping, digest)
        tables.append([(swept.out / f"{n}.csv").read_bytes() for n in ("results", "tests")])
        models = len(runs) + soups
        # Every model on test and shift, and none on held-out; then none at all.
        assert len(seen) == (2 * models if digest == "one" else 0)
        seen.clear()
    assert tables[0] == tables[1]


def test_of_a_new_soup_the_other_models_are_not_predicted_again(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(model: Any, images: Any, *rest: Any) -> Any:
        seen.append(len(images))
        return predict(model, images, *rest)

    monkeypatch.setattr(evaluate, "predict", counted)
    default = swept.params.evaluate.model_copy(update={"keep_predictions": None})
    for recipe in ("greedy", "uniform"):
        soup = swept.params.soup.model_copy(update={"recipe": recipe, "tie": "reject"})
        changes = {"soup": soup, "evaluate": default}
        changed = replace(swept, params=swept.params.model_copy(update=changes))
        record(swept, "cook", cook.run(changed, f"new {recipe}"))
        seen.clear()
        evaluate.run(changed, f"new {recipe}")
    assert seen == []  # both soups were evaluated beside the first


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file of weights is hashed, from now on."""
    seen: Counter[Path] = Counter()
    plain = hashlib.file_digest

    def counted(file: Any, algorithm: str) -> Any:
        if Path(file.name).suffix == ".safetensors":
            seen[Path(file.name)] += 1
        return plain(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return seen


@pytest.mark.parametrize("recipe", ["greedy", "uniform"])
def test_no_pass_over_the_soup_and_no_hash_of_a_file_is_made_twice(
    swept: Project, monkeypatch: pytest.MonkeyPatch, hashed: Counter[Path], recipe: str
) -> None:
    soup = swept.params.soup.model_copy(update={"recipe": recipe, "include_probe": False})
    registry = swept.params.registry.model_copy(update={"model": f"once-{recipe}"})
    changes = {"soup": soup, "registry": registry}
    other = replace(swept, params=swept.params.model_copy(update=changes))
    seen: list[int] = []

    def counted(model: Any, images: Any, *rest: Any) -> Any:
        seen.append(len(images))
        return predict(model, images, *rest)

    for stage in (evaluate, register):
        monkeypatch.setattr(stage, "predict", counted)
    runs = json.loads((swept.out / "finetune.json").read_text())["runs"]
    cooked = cook.run(other, f"once-{recipe}")
    assert set(hashed.values()) == {1}
    assert len(hashed) == len(runs)  # all but the probe's, and the soup's
    hashed.clear()
    record(swept, "cook", cooked)
    evaluate.run(other, f"once-{recipe}")
    assert set(hashed.values()) == {1}
    assert len(hashed) == len(runs) + 1
    heldout = cooked["examples"]
    assert heldout not in (12, 16)  # of test and of the shift
    assert seen.count(heldout) == 0
    assert len(seen) == 2 * (len(runs) + 2)
    results = pd.read_csv(swept.out / "results.csv")
    row = results[(results["kind"] == recipe) & (results["split"] == "heldout")]
    assert (1 - row["accuracy"].item()) * heldout == pytest.approx(cooked["errors"])
    hashed.clear()
    seen.clear()
    done = register.run(other)
    assert set(hashed.values()) == {1}
    assert seen == []
    assert int(champion_of(other, done["version"]).tags["errors"]) == cooked["errors"]


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
        evaluate.run(swept, "alone")
    finally:
        finetune.write_text(plain)
    results = pd.read_csv(swept.out / "results.csv").drop(columns="kind").set_index("model")
    expected = results.loc["ft-000"].reset_index(drop=True)
    for name in set(results.index) - {"zero-shot"}:
        pd.testing.assert_frame_equal(results.loc[name].reset_index(drop=True), expected)


def test_a_worse_challenger_does_not_become_champion(swept: Project) -> None:
    """The uniform soup of this sweep is no better than the greedy one, and the greedy one is."""
    recipes = ("uniform", "greedy")
    ways = {
        recipe: replace(
            swept,
            params=swept.params.model_copy(
                update={"soup": swept.params.soup.model_copy(update={"recipe": recipe})}
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
    decision = register.promote(swept, store, challenger, right)
    assert f"against {held.tags['errors']} of champion {held.number}" in decision.reason
    weights = next((swept.cache / "champions").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")  # of the cache: it is fetched again
    assert register.promote(swept, store, challenger, right) == decision


def champion_of(project: Project, number: str) -> tracking.Version:
    return tracking.version(project.store(), project.params.registry.model, number)
