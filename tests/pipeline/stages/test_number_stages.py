"""All stages where models predict numbers, as on STS-B, with tiny random models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from soup import tracking
from soup.config.params import parse
from soup.config.validation import ParamsError
from soup.data.split.manifest import Manifest
from soup.evaluation.number_scores import Numbers
from soup.evaluation.predict import predict
from soup.evaluation.promotion_gate import Scored, decide
from soup.models import open_model
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages import (
    base,
    cook,
    evaluate,
    evaluate_version,
    prepare,
    probe,
    register,
    report,
)
from soup.pipeline.sweep.opening import open_sweep
from soup.train.finetune import finetune
from soup.train.fork_server import start_fork_server
from soup.train.linear_probe import fit_numbers
from tests import homes, text_worlds
from tests.pipeline.projects import Silent, record
from tests.pipeline.stages.test_text_stages import job

MEASURE = "pearson-spearman"


def prepared(root: Path, kind: str, **changes: Any) -> Project:
    text_worlds.similar_pairs(root / "data")
    model = text_worlds.tiny(root / kind, kind)
    data = {
        "root": "data", "text": "stsb", "heldout": {"fraction": 0.2},
        "shifts": {"odd": {"folder": "odd.tsv"}},
    }  # fmt: skip
    raw = text_worlds.parameters(root, model, data=data, **changes)
    project = Project(root, parse(raw), {"flow_run": "none"})
    project.out.mkdir(parents=True)
    homes.tracking(root)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(project, name, stage.run(project))
    return project


@pytest.fixture(scope="module")
def cooked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the report is done."""
    start_fork_server("transformers")
    project = prepared(tmp_path_factory.mktemp("numbers"), "bert")
    sweep = open_sweep(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    record(project, "cook", cook.run(project, "cook"))
    record(project, "evaluate", evaluate.run(project, "evaluate"))
    record(project, "register", register.run(project))
    record(project, "report", report.run(project))
    return project


def glue(outputs: np.ndarray, labels: np.ndarray) -> float:
    both = (stats.pearsonr(outputs, labels), stats.spearmanr(outputs, labels))
    return float(np.mean([found.statistic for found in both]))


@pytest.mark.slow
def test_the_manifest_holds_numbers_and_the_probe_is_a_ridge_regression(cooked: Project) -> None:
    rows = Manifest.load(cooked.development).split("train")
    labels = [float(row.label) for row in rows]
    assert len({*labels}) > 50
    facts = json.loads((cooked.out / "probe.json").read_text())
    assert facts["measure"] == MEASURE
    architecture, model = open_model(cooked.out / "probe")
    heldout = heldout_of(cooked, architecture)
    assert heldout.labels.dtype == np.float32
    outputs = predict(model, heldout, 16)[:, 0]
    assert 1 - facts["errors"] == pytest.approx(glue(outputs, heldout.labels), abs=1e-6)
    config = json.loads((cooked.out / "base" / "config.json").read_text())
    assert config["problem_type"] == "regression"


@pytest.mark.slow
def test_soup_tables_tests_and_metrics_are_of_the_correlations(cooked: Project) -> None:
    architecture, model = open_model(cooked.out / "soup")
    sets, _ = sets_of(cooked, architecture, heldout_of(cooked, architecture))
    outputs = predict(model, sets["test"], 16)[:, 0]
    results = pd.read_csv(cooked.out / "results.csv")
    assert {*results["split"]} == {"heldout", "test", "odd", "shifts"}
    assert "accuracy" not in results
    row = results[(results["kind"] == "greedy") & (results["split"] == "test")].iloc[0]
    assert row[MEASURE] == pytest.approx(glue(outputs, sets["test"].labels), abs=1e-6)
    assert row["pearson"] == pytest.approx(
        stats.pearsonr(outputs, sets["test"].labels).statistic, abs=1e-6
    )
    assert row["mse"] == pytest.approx(((outputs - sets["test"].labels) ** 2).mean(), rel=1e-5)
    assert row["low"] <= row[MEASURE] <= row["high"]
    assert row[MEASURE] > 0.6  # it learned the verbs
    ensemble = results[(results["kind"] == "ensemble") & (results["split"] == "test")].iloc[0]
    assert ensemble[MEASURE] > 0.5
    tests = pd.read_csv(cooked.out / "tests.csv")
    assert ((tests["p_value"] > 0) & (tests["p_value"] <= 1)).all()
    metrics = json.loads((cooked.out / "metrics.json").read_text())
    assert metrics["test"]["soup"] == pytest.approx(row[MEASURE], abs=1e-5)
    trace = pd.read_csv(cooked.out / "trace.csv")
    heldout = heldout_of(cooked, architecture)
    soup = trace.loc[trace["kept"], "heldout_accuracy"].iloc[-1]
    said = predict(model, heldout, 16)[:, 0]
    assert soup == pytest.approx(glue(said, heldout.labels), abs=1e-6)
    # No figure of classes is logged with any run.
    store = cooked.store()
    runs = store.get([*json.loads((cooked.out / "finetune.json").read_text())["runs"].values()])
    names = {name for run in runs for name in run.metrics}
    assert f"heldout/{MEASURE}" in names
    assert f"test/{MEASURE}" in names
    assert not [n for n in names if n.endswith(("/accuracy", "/errors", "/nll", "/ece"))]


@pytest.mark.slow
def test_transformers_opens_the_soup_and_predicts_the_same_numbers(cooked: Project) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = cooked.out / "soup"
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    table = pd.read_csv(cooked.root / "data" / "dev.tsv", sep="\t")
    tokens = AutoTokenizer.from_pretrained(folder)(
        table["sentence1"].tolist(), table["sentence2"].tolist(), return_tensors="pt",
        padding=True, truncation=True, max_length=32,
    )  # fmt: skip
    with torch.inference_mode():
        theirs = model(**tokens).logits[:, 0].numpy()
    architecture, ours = open_model(folder)
    sets, _ = sets_of(cooked, architecture, heldout_of(cooked, architecture))
    rows = Manifest.load(cooked.evaluation).split("test")
    numbers = [int(row.path.rpartition("::")[2]) - 1 for row in rows]
    assert np.abs(predict(ours, sets["test"], 16)[:, 0] - theirs[numbers]).max() < 1e-4


@pytest.mark.slow
def test_the_registered_version_answers_numbers_and_is_gated_and_evaluated_by_them(
    cooked: Project,
) -> None:
    import mlflow

    mlflow.set_tracking_uri(cooked.store().uri)
    number = json.loads((cooked.out / "register.json").read_text())["version"]
    name = cooked.params.registry.model
    loaded = mlflow.pyfunc.load_model(f"models:/{name}/{number}")
    table = pd.read_csv(cooked.root / "data" / "dev.tsv", sep="\t")
    pairs = [*zip(table["sentence1"], table["sentence2"], strict=True)]
    rows = loaded.predict(pairs)
    assert [*rows.columns] == ["number", "error"]
    results = pd.read_csv(cooked.out / "results.csv")
    row = results[(results["kind"] == "greedy") & (results["split"] == "test")].iloc[0]
    score = glue(rows["number"].to_numpy(), table["score"].to_numpy())
    assert score == pytest.approx(row[MEASURE], abs=1e-4)
    good = pairs[0]
    refused = loaded.predict([good, ("", "x")])
    assert refused["error"].tolist() == [None, "the text is empty"]
    assert refused["number"].tolist() == [
        pytest.approx(rows["number"][0], abs=1e-4),
        None,
    ]
    again = register.answered(cooked, cooked.out / "soup")
    assert again is not None
    ours, anew = register.answers_in(cooked).numbers, again.numbers
    assert ours is not None
    assert anew is not None
    assert np.abs(ours.outputs - anew.outputs).max() < 1e-4
    worse = Numbers(ours.labels, ours.outputs[::-1].copy())
    versions = [Scored("2", "split", None, numbers=ours), Scored("1", "split", None)]
    decision = decide(*versions, lambda: worse)
    assert decision.promote
    assert f"held-out {MEASURE}" in decision.reason
    assert not decide(*versions, lambda: ours).promote
    assert "knows other classes" in decide(*versions, lambda: None).reason
    found = evaluate_version.evaluate(cooked, name, number)
    assert found[MEASURE]["test"] == pytest.approx(row[MEASURE], abs=1e-6)


@pytest.mark.parametrize(
    ("score", "promoted"), [("spearman", True), ("pearson", False), (MEASURE, False)]
)
def test_the_champion_is_compared_by_the_score_that_the_soup_was_chosen_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str, promoted: bool
) -> None:
    labels = np.arange(50, dtype=np.float32)
    in_order = np.exp(labels / 5)  # Spearman 1, Pearson 0.6
    near = labels + np.random.default_rng(0).normal(0, 3, 50).astype(np.float32)
    raw = text_worlds.parameters(
        tmp_path, tmp_path, data={"root": "data", "text": "stsb"}, soup={"score": score}
    )
    project = Project(tmp_path, parse(raw))
    champion = tracking.Version("m", "1", "", {"split": "s"})
    monkeypatch.setattr(tracking, "promote", lambda _store, _ours, judge: judge(champion))
    monkeypatch.setattr(tracking, "rolled_back", lambda *_: "")
    monkeypatch.setattr(tracking, "fetch", lambda *_: tmp_path)
    theirs = register.Answered(numbers=Numbers(labels, near))
    monkeypatch.setattr(register, "answered", lambda *_: theirs)
    ours = register.Answered(numbers=Numbers(labels, in_order))
    store: Any = None
    challenger = tracking.Version("m", "2", "", {"split": "s"})
    decision = register.promote(project, store, challenger, ours)
    assert decision.promote == promoted
    assert f"held-out {score} " in decision.reason


@pytest.mark.slow
def test_the_page_speaks_of_the_correlation_and_not_of_accuracy(cooked: Project) -> None:
    page = (cooked.out / "report.html").read_text()
    assert "Pearson-spearman of every model" in page
    assert "MSE, test" in page
    assert "Soup closer" in page
    for word in ("ccuracy", "NLL", "McNemar", "right</th>"):
        assert word not in page, word


@pytest.mark.slow
def test_an_interrupted_run_on_numbers_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    project = prepared(tmp_path, "bert")
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    finetune(job(project, folders[0]), lambda *_: None)
    for share in (0.3, 0.6, 1.0):
        finetune(job(project, folders[1], until=share), lambda *_: None)
    for name in ("ingredient", "ingredient-ema-0.9", "ingredient-swa"):
        files = [folder / name / "model.safetensors" for folder in folders]
        assert files[0].read_bytes() == files[1].read_bytes(), name


@pytest.mark.parametrize("bias", [True, False])
def test_the_probe_on_numbers_minimises_its_objective(bias: bool) -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 5), 2.5 + torch.randn(60)
    head = torch.nn.Linear(5, 1, bias=bias)
    start = head.weight.detach().clone()

    def objective() -> torch.Tensor:
        error = (head(inputs)[:, 0] - labels).square().mean()
        return error + 0.3 * (head.weight - start).square().sum()

    fit_numbers(inputs, labels, head, 0.3, chunk=17)
    objective().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-5


def test_settings_of_classes_are_refused_where_labels_are_numbers(tmp_path: Path) -> None:
    raw = text_worlds.parameters(tmp_path, tmp_path) | {"data": {"root": "data", "text": "stsb"}}
    assert parse(raw | {"soup": {"score": "spearman"}})
    with pytest.raises(ParamsError, match=r"soup\.score: matthews does not score numbers"):
        parse(raw | {"soup": {"score": "matthews"}})
    with pytest.raises(ParamsError, match="label_smoothing: of classes"):
        parse(raw | {"sweep": {"runs": 1, "space": {"label_smoothing": 0.1}}})
    classes = raw | {"data": {"root": "data", "text": "cola"}, "soup": {"score": "pearson"}}
    with pytest.raises(ParamsError, match=r"soup\.score: pearson does not score classes"):
        parse(classes)
