"""The pipeline from the outside: its command, DVC, MLflow's store and registry, all real."""

import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flows.dvc_lock import METRICS
from tests import checkouts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the pipeline ran once."""
    root = checkouts.make(tmp_path_factory.mktemp("checkout"))
    ran = checkouts.pipeline(root, PREFECT_HOME=str(root / ".prefect/new"))  # as a user's first
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "greedy soup" in ran.stderr
    assert "mean of shifts" in ran.stderr
    (began,) = re.findall(r"^report +([\d.]+) +[\d.]+ +\d+%", ran.stderr, re.M)
    (took,) = re.findall(r"This run took (\d+) s", ran.stderr)
    assert float(began) <= float(took) + 0.5  # both count from the start of the process
    return root


@pytest.fixture
def client(done: Path):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{done}/mlflow.db", f"sqlite:///{done}/mlflow.db")


def test_every_stage_leaves_what_dvc_yaml_says(done: Path) -> None:
    stages = yaml.safe_load((checkouts.REPO / "dvc.yaml").read_text())["stages"]
    del stages["study"]  # one for each study that is listed, and none is
    for name, stage in stages.items():
        record = json.loads((done / "out" / "tiny" / f"{name}.json").read_text())
        assert record["stage"] == name
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                path = next(iter(out)).replace("${experiment}", "tiny")
                assert (done / path).stat().st_size > 0


def test_the_soup_is_a_registered_version_whose_tags_lead_to_all_it_is_made_of(
    done: Path, client
) -> None:
    registered = client.get_registered_model("tiny-soup")
    assert registered.aliases == {"challenger": 1, "champion": 1} or registered.aliases == {
        "challenger": "1",
        "champion": "1",
    }
    version = client.get_model_version_by_alias("tiny-soup", "champion")
    soup = client.get_run(version.tags["soup.run"])
    assert soup.data.tags["soup.kind"] == "soup"
    ingredients = json.loads(version.tags["soup.ingredients"])
    cooked = json.loads((done / "out/tiny/cook.json").read_text())
    assert len(ingredients) == len(cooked["kept"]) >= 1
    for run_id in ingredients:
        tags = client.get_run(run_id).data.tags
        assert tags["soup.kind"] == "ingredient"
        assert tags["soup.base"] == version.tags["soup.base"]
        assert tags["soup.split"] == version.tags["soup.split"]
    assert len(version.tags["soup.commit"]) >= 40
    lock = yaml.safe_load((done / "dvc.lock").read_text())
    outs = {o["path"]: o["md5"] for o in lock["stages"]["prepare"]["outs"]}
    split = outs["out/tiny/split/development.csv"]
    assert version.tags["soup.dvc.development.csv"] == split


def test_fine_tunes_are_children_of_the_sweep_and_inputs_of_the_soup(done: Path, client) -> None:
    record = json.loads((done / "out/tiny/finetune.json").read_text())
    assert set(record["runs"]) == {"probe", "ft-000", "ft-001", "ft-002"}
    for name, run_id in record["runs"].items():
        run = client.get_run(run_id)
        assert run.data.tags["mlflow.parentRunId"] == record["sweep"]
        assert run.info.status == "FINISHED"
        if name != "probe":
            assert run.data.params["epochs"] == "2"
            history = client.get_metric_history(run_id, "heldout/accuracy")
            assert len({m.step for m in history}) == 2
            assert client.get_metric_history(run_id, "train/loss")
    cooked = json.loads((done / "out/tiny/cook.json").read_text())
    inputs = client.get_run(cooked["run_id"]).inputs.model_inputs
    assert len(inputs) == len(cooked["kept"])
    assert "trace/examples_seen" in client.get_run(cooked["run_id"]).data.metrics
    logged = {file.path for file in client.list_artifacts(cooked["run_id"])}
    assert {"trace.json", "plots", "report.html"} <= logged


def test_the_soup_is_no_worse_than_the_best_single_model_on_held_out(done: Path) -> None:
    metrics = json.loads((done / "out/tiny/metrics.json").read_text())
    assert metrics["heldout"]["gain"] >= 0
    results = pd.read_csv(done / "out/tiny/results.csv")
    assert set(results["split"]) == {"heldout", "test", "dark", "shifts"}
    assert results["accuracy"].between(results["low"] - 1e-9, results["high"] + 1e-9).all()
    assert {"uniform", "greedy", "ensemble", "greedy ensemble"} <= set(results["kind"])


def test_the_registered_soup_answers_as_a_pyfunc_without_a_pickle_in_it(done: Path) -> None:
    code = (
        "import mlflow, sys, pathlib\n"
        f"mlflow.set_tracking_uri('sqlite:///{done}/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/tiny-soup@champion')\n"
        "images = sorted(pathlib.Path('data/test/red').iterdir())\n"
        "print(model.predict([i.read_bytes() for i in images]).to_json())\n"
    )
    ran = checkouts.run(done, "python", "-c", code, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false")
    assert ran.returncode == 0, ran.stderr[-2000:]
    answers = json.loads(ran.stdout.splitlines()[-1])
    assert set(answers) == {"label", "probability", "probabilities", "error"}
    assert set(answers["error"].values()) == {None}
    assert len(answers["label"]) == 12
    stored = [path for path in (done / "mlruns").rglob("*") if path.is_file()]
    assert not [p for p in stored if p.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    assert any(p.name == "model.safetensors" for p in stored)


def test_afterwards_dvc_has_nothing_to_do_and_neither_has_a_second_run(done: Path) -> None:
    status = checkouts.run(done, "dvc", "status")
    assert "up to date" in status.stdout, status.stdout + status.stderr
    started = time.monotonic()
    again = checkouts.run(done, "dvc", "repro")
    print(f"dvc repro with nothing to do: {time.monotonic() - started:.1f} s")
    assert "Running stage" not in again.stdout
    second = checkouts.pipeline(done)
    assert second.returncode == 0, second.stderr[-2000:]
    assert second.stderr.count("done before, reused") == 8


def test_dvc_shows_metrics_and_plots(done: Path) -> None:
    shown = checkouts.run(done, "dvc", "metrics", "show", "--json")
    metrics = json.loads(shown.stdout)[""]["data"]["out/tiny/metrics.json"]["data"]
    assert metrics["test"]["soup"] > 0
    assert json.loads((done / METRICS).read_text()) == metrics
    plots = checkouts.run(done, "dvc", "plots", "show")
    assert plots.returncode == 0, plots.stderr
    page = (done / "dvc_plots" / "index.html").read_text()
    assert "greedy trace" in page
    assert "mean of the shifts" in page


def test_another_recipe_redoes_cook_and_what_follows_and_nothing_before(done: Path) -> None:
    before = json.loads((done / "out/tiny/finetune.json").read_text())
    ran = checkouts.run(done, "dvc", "exp", "run", "-S", "soup.recipe=uniform")
    assert ran.returncode == 0, ran.stderr[-3000:]
    redone = [line.split("'")[1] for line in ran.stdout.splitlines() if "Running stage" in line]
    assert redone == ["cook", "evaluate", "register", "report"]
    assert json.loads((done / "out/tiny/finetune.json").read_text()) == before
    cooked = json.loads((done / "out/tiny/cook.json").read_text())
    assert cooked["recipe"] == "uniform"
    assert len(cooked["kept"]) == 4


def test_a_larger_sweep_adds_runs_and_redoes_none(done: Path) -> None:
    before = json.loads((done / "out/tiny/finetune.json").read_text())["runs"]
    sweep = checkouts.parameters(done)["sweep"] | {"runs": 4}
    checkouts.write(done, sweep=sweep)
    ran = checkouts.run(done, "dvc", "repro", "finetune")
    assert ran.returncode == 0, ran.stderr[-3000:]
    after = json.loads((done / "out/tiny/finetune.json").read_text())["runs"]
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"ft-003"}
