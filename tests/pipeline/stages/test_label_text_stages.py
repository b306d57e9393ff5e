"""All stages with a tiny T5 that writes labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from soup.config.params import parse
from soup.config.validation import ParamsError
from soup.data.split.manifest import Manifest
from soup.evaluation.predict import predict
from soup.models import open_model
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe, register, report
from soup.pipeline.sweep.opening import open_sweep
from soup.train.finetune import finetune
from soup.train.fork_server import start_fork_server
from tests import homes, text_worlds
from tests.pipeline.projects import Silent, record
from tests.pipeline.stages.test_text_stages import job

pytestmark = pytest.mark.slow
LABELS = {"no": "now", "yes": "now then"}  # words that the tokenizer has


def prepared(root: Path) -> Project:
    text_worlds.sentences(root / "data")
    for file in (root / "data").iterdir():
        table = pd.read_csv(file)
        table.assign(label=table["label"].map(LABELS)).to_csv(file, index=False)
    model = text_worlds.tiny(root / "t5", "t5")
    head = {
        "library": "transformers",
        "model": str(model),
        "head": "text",
        "prompt": "today {text}",
    }
    raw = text_worlds.parameters(root, model, base=head, soup={"score": "matthews"})
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
    project = prepared(tmp_path_factory.mktemp("writer"))
    sweep = open_sweep(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    record(project, "cook", cook.run(project, "cook"))
    record(project, "evaluate", evaluate.run(project, "evaluate"))
    record(project, "register", register.run(project))
    record(project, "report", report.run(project))
    return project


def test_it_learns_to_write_the_labels_and_the_soup_is_one_of_transformers(cooked: Project) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    results = pd.read_csv(cooked.out / "results.csv")
    row = results[(results["kind"] == "greedy") & (results["split"] == "test")].iloc[0]
    assert row["matthews"] > 0.4
    folder = cooked.out / "soup"
    model, info = AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert model.lm_head.weight is model.shared.weight
    tokenizer = AutoTokenizer.from_pretrained(folder)
    architecture, ours = open_model(folder)
    sets, _ = sets_of(cooked, architecture, heldout_of(cooked, architecture))
    logits = predict(ours, sets["test"], 16)
    texts = pd.read_csv(cooked.root / "data" / "test.csv")["text"]
    rows = Manifest.load(cooked.evaluation).split("test")
    for place, label in enumerate(architecture.classes):
        target = [*tokenizer(label, add_special_tokens=False)["input_ids"], 3]
        for index in (0, 7):
            text = texts[int(rows[index].path.rpartition("::")[2]) - 1]
            ids = tokenizer(f"today {text}", return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                loss = model(input_ids=ids, labels=torch.tensor([target])).loss
            assert logits[index, place] == pytest.approx(-float(loss) * len(target), abs=1e-3)


def test_the_registered_version_answers_with_the_words(cooked: Project) -> None:
    import mlflow

    mlflow.set_tracking_uri(cooked.store().uri)
    number = json.loads((cooked.out / "register.json").read_text())["version"]
    loaded = mlflow.pyfunc.load_model(f"models:/{cooked.params.registry.model}/{number}")
    rows = loaded.predict(["The cat loves a dog", "The fox scorns an ant"])
    assert rows["label"].tolist() == ["now then", "now"]
    assert np.allclose([sum(row.values()) for row in rows["probabilities"]], 1)
    assert "AutoModelForSeq2SeqLM" in (cooked.out / "report.html").read_text()


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    project = prepared(tmp_path)
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    finetune(job(project, folders[0]), lambda *_: None)
    for share in (0.3, 0.6, 1.0):
        finetune(job(project, folders[1], until=share), lambda *_: None)
    for name in ("ingredient", "ingredient-ema-0.9", "ingredient-swa"):
        files = [folder / name / "model.safetensors" for folder in folders]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_label_smoothing_and_numbers_are_refused(tmp_path: Path) -> None:
    head = {"library": "transformers", "model": "t5", "head": "text"}
    raw = text_worlds.parameters(tmp_path, tmp_path) | {"base": head}
    with pytest.raises(ParamsError, match=r"label_smoothing: not with base\.head: text"):
        parse(raw | {"sweep": {"runs": 1, "space": {"label_smoothing": 0.1}}})
    with pytest.raises(ParamsError, match=r"base\.head: text: of classes"):
        parse(raw | {"data": {"root": "data", "text": "stsb"}})
