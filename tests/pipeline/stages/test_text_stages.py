"""All stages on generated sentences with tiny random models, without Prefect."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import matthews_corrcoef

from soup import tracking
from soup.config.params import parse
from soup.config.recipe import Recipe
from soup.config.validation import ParamsError
from soup.data.split.manifest import Manifest
from soup.evaluation.answers_tag import unpacked_answers
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.predict import predict
from soup.models import open_model
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe, register, report
from soup.pipeline.sweep.opening import open_sweep
from soup.recipes.learned import learned
from soup.tracking.ingredients import ingredients
from soup.train.finetune import Job, finetune
from soup.train.fork_server import start_fork_server
from soup.train.hyperparameters import Hyperparameters
from tests import homes, text_worlds
from tests.pipeline.projects import Silent, champion_of, record

pytestmark = pytest.mark.slow


def prepared(root: Path, kind: str, **changes: Any) -> Project:
    text_worlds.sentences(root / "data")
    model = text_worlds.tiny(root / kind, kind)
    soup = {"score": "matthews", "compare": ["uniform", "greedy", "learned"]}
    raw = text_worlds.parameters(root, model, soup=soup, **changes)
    project = Project(root, parse(raw), {"flow_run": "none"})
    project.out.mkdir(parents=True)
    homes.tracking(root)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(project, name, stage.run(project))
    return project


@pytest.fixture(scope="module", params=["bert", "t5"])
def cooked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the report is done."""
    start_fork_server("transformers")
    project = prepared(tmp_path_factory.mktemp(request.param), request.param)
    sweep = open_sweep(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    record(project, "cook", cook.run(project, "cook"))
    record(project, "evaluate", evaluate.run(project, "evaluate"))
    record(project, "register", register.run(project))
    record(project, "report", report.run(project))
    return project


def test_the_soup_is_judged_by_matthews(cooked: Project) -> None:
    architecture, model = open_model(cooked.out / "soup")
    heldout = heldout_of(cooked, architecture)
    answers = predict(model, heldout, 16).argmax(axis=1)
    trace = pd.read_csv(cooked.out / "trace.csv")
    soup = trace.loc[trace["kept"], "heldout_accuracy"].iloc[-1]
    assert soup == pytest.approx(matthews_corrcoef(heldout.labels, answers))
    assert json.loads((cooked.out / "cook.json").read_text())["score"] == "matthews"


def test_the_sweep_ranks_and_registers_by_matthews(
    cooked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads((cooked.out / "finetune.json").read_text())
    labels = heldout_of(cooked, open_model(cooked.out / "soup")[0]).labels
    stored = ingredients(cooked.store(), [*facts["runs"].values()], cooked.cache / "models")
    scores = {s.run.name: matthews_corrcoef(labels, s.logits.argmax(axis=1)) for s in stored}
    assert {s.run.name: s.run.metrics["heldout/matthews"] for s in stored} == pytest.approx(scores)
    best = max(scores, key=lambda name: scores[name])
    assert facts["score"] == "matthews"
    assert f"matthews {100 * scores[best]:.2f} held-out" in facts["summary"]

    version = champion_of(cooked, "1")
    answers = unpacked_answers(version.tags["answers"])
    assert answers is not None
    soup = float(version.tags["heldout_score"])
    assert soup == pytest.approx(matthews_corrcoef(answers.labels, answers.answers))
    # A challenger of the same answers is no better.
    own = register.Answered(answers.labels == answers.answers, answers)
    challenger = replace(version, number="2")
    monkeypatch.setattr(
        register.tracking, "promote", lambda _store, _new, judge: judge(champion_of(cooked, "1"))
    )
    decision = register.promote(cooked, cooked.store(), challenger, own)
    assert not decision.promote
    told = f"held-out matthews (times 100) of {100 * soup:.2f} against {100 * soup:.2f} of champion"
    assert decision.reason.startswith(told)
    # A champion of another split answers anew: with the answers that its tags have.
    cooked.store().client.set_model_version_tag(version.model, "1", "soup.split", "another")
    again = register.promote(cooked, cooked.store(), challenger, own)
    assert again.reason.startswith(told)
    assert "right alone" not in again.reason


def test_every_model_has_the_score_with_its_interval_on_every_split(cooked: Project) -> None:
    results = pd.read_csv(cooked.out / "results.csv")
    assert {*results["split"]} == {"heldout", "test", "odd", "shifts"}
    assert (results["matthews_low"] <= results["matthews"]).all()
    assert (results["matthews"] <= results["matthews_high"]).all()
    architecture, model = open_model(cooked.out / "soup")
    sets, _ = sets_of(cooked, architecture, heldout_of(cooked, architecture))
    answers = predict(model, sets["test"], 16).argmax(axis=1)
    row = results[(results["kind"] == "greedy") & (results["split"] == "test")].iloc[0]
    assert row["matthews"] == pytest.approx(matthews_corrcoef(sets["test"].labels, answers))
    assert row["matthews"] > 0.4  # it learned the verbs
    tests = pd.read_csv(cooked.out / "tests.csv")
    assert ((tests["matthews_p"] > 0) & (tests["matthews_p"] <= 1)).all()
    figures = json.loads((cooked.out / "scores.json").read_text())
    assert figures["test"]["matthews"]["soup"] == pytest.approx(row["matthews"], abs=1e-6)


def test_the_learned_soup_of_texts_is_that_of_the_library_and_is_scored_alike(
    cooked: Project,
) -> None:
    pool = CandidatePool(cooked, cooked.store())
    ingredients = [stored.ingredient for stored in pool.ranked]
    evaluator = Evaluator(pool.heldout, pool.architecture, (pool.model,), 16)
    expected = learned(ingredients, evaluator.objective())
    assert len({*next(iter(expected.shares.values())).values()}) > 1  # it learned shares
    result = pool.cook(Recipe(name="learned"))
    for name, tensor in expected.weights.items():
        assert torch.equal(result.weights[name], tensor), name
    labels = pool.heldout.labels
    answers = evaluator.logits(expected.weights).argmax(axis=1)
    assert 1 - result.errors == pytest.approx(matthews_corrcoef(labels, answers))
    results = pd.read_csv(cooked.out / "results.csv").set_index(["kind", "split"])
    row = results.loc[("learned", "heldout")]
    assert row["matthews"] == pytest.approx(matthews_corrcoef(labels, answers))
    compared = pd.read_csv(cooked.out / "compared.csv").set_index(["recipe", "split"])
    assert 0 < compared.loc[("learned", "test"), "matthews_p"] <= 1


def test_transformers_opens_the_soup_with_nothing_missing_and_answers_alike(
    cooked: Project,
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = cooked.out / "soup"
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    tokenizer = AutoTokenizer.from_pretrained(folder)
    architecture, ours = open_model(folder)
    sets, _ = sets_of(cooked, architecture, heldout_of(cooked, architecture))
    text = pd.read_csv(cooked.root / "data" / "test.csv")["text"].tolist()
    logits = predict(ours, sets["test"], 16)
    with torch.inference_mode():
        theirs = model(**tokenizer(text, return_tensors="pt", padding=True)).logits.numpy()
    numbers = [int(row.path.rpartition("::")[2]) - 1 for row in rows_of_test(cooked)]
    assert np.abs(logits - theirs[numbers]).max() < 1e-4


def rows_of_test(project: Project) -> Any:
    return Manifest.load(project.evaluation).split("test")


def test_the_registered_version_holds_tokenizer_and_config(cooked: Project, tmp_path: Path) -> None:
    store = cooked.store()
    number = json.loads((cooked.out / "register.json").read_text())["version"]
    version = tracking.version(store, cooked.params.registry.model, number)
    folder = tracking.fetch(store, version, tmp_path / "fetched")
    names = {"model.json", "model.safetensors", "config.json", "tokenizer.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "config.json").read_text() == (cooked.out / "soup" / "config.json").read_text()


def test_the_registered_version_answers_sentences(cooked: Project) -> None:
    import mlflow

    mlflow.set_tracking_uri(cooked.store().uri)
    number = json.loads((cooked.out / "register.json").read_text())["version"]
    loaded = mlflow.pyfunc.load_model(f"models:/{cooked.params.registry.model}/{number}")
    rows = loaded.predict(["The cat loves a dog", "The fox scorns an ant"])
    assert rows["label"].tolist() == ["yes", "no"]


def test_the_page_shows_the_score_and_how_transformers_opens_the_soup(cooked: Project) -> None:
    page = (cooked.out / "report.html").read_text()
    assert "transformers:" in page
    assert "matthews (times 100), by which the soup was chosen" in page
    assert "AutoTokenizer.from_pretrained(&#39;out/tiny/soup&#39;)" in page


def job(project: Project, folder: Path, **changes: Any) -> Job:
    hyperparameters = Hyperparameters(
        lr=3e-3, weight_decay=0.01, epochs=2, batch_size=16, ema=(0.9,), sam=0.01, swa_start=0.5
    )
    made = Job(
        hyperparameters, project.out / "probe", project.development, project.images, folder,
        project.cache / "images", 1.0, ("cpu",), 1, eval_batch_size=16,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_a_run_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    tmp_path: Path, kind: str
) -> None:
    project = prepared(tmp_path, kind)
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    finetune(job(project, folders[0]), lambda *_: None)
    for share in (0.3, 0.6, 1.0):  # pauses in the middle of epochs; the state is read from disk
        finetune(job(project, folders[1], until=share), lambda *_: None)
    for name in ("ingredient", "ingredient-ema-0.9", "ingredient-swa"):
        files = [folder / name / "model.safetensors" for folder in folders]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_nothing_before_evaluate_needs_test_or_shifts(tmp_path: Path) -> None:
    project = prepared(tmp_path, "bert")
    project.evaluation.unlink()
    for name in ("test.csv", "odd.csv"):
        (tmp_path / "data" / name).unlink()
    shutil.rmtree(project.cache, ignore_errors=True)
    probe.run(project)
    finetune(job(project, tmp_path / "run"), lambda *_: None)


def test_parameters_that_mix_texts_and_images_are_refused(tmp_path: Path) -> None:
    raw = text_worlds.parameters(tmp_path, tmp_path)
    with pytest.raises(
        ParamsError, match=r"data\.text and base\.library: transformers go together"
    ):
        parse(raw | {"data": {"root": "data"}})
    with pytest.raises(ParamsError, match=r"sweep\.space: mixup: of images alone"):
        parse(raw | {"sweep": {"runs": 1, "space": {"mixup": 0.2}}})
    assert parse(raw | {"sweep": {"runs": 1, "space": "paper-text"}})


def test_early_rejection_is_told(cooked: Project) -> None:
    told = json.loads((cooked.out / "cook.json").read_text())["summary"]
    assert "early rejection saved" in told
