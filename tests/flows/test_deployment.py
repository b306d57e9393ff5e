"""The deployments, on a real Prefect server with a real worker and a real MLflow server.

The tests are one story, in the order of this file: each finds what those before it left.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests import checkouts
from tests.flows.served import Served
from tests.flows.served import places as where
from tests.gates import Gate
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(deployment: Served) -> Served:
    return deployment


@pytest.fixture(scope="module")
def places(served: Served) -> dict[str, Path]:
    return where(served.root.parent)


@pytest.fixture(scope="module")
def dead(served: Served) -> dict[str, Any]:
    """A run that was killed in the middle of a fine-tune, with no worker to tell; `with` it ended
    the runs of its stages.
    """
    text = yaml.safe_dump(checkouts.parameters(served.root, experiment="dead"))
    (served.root / "dead.yaml").write_text(text)
    gate = Gate(served.root / ".cache" / "gate")
    gate.close(step=6)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline", "--params", "dead.yaml"],
        cwd=served.root,
        env=checkouts.environment(served.root, **served.reach, **gate.environment),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def beating() -> dict[str, Any] | None:
        name = {"event": {"name": ["prefect.flow-run.heartbeat"]}}
        for event in served.ask("/events/filter", {"filter": name})["events"]:
            for run in served.runs():
                own = event["resource"]["prefect.resource.id"] == f"prefect.flow-run.{run['id']}"
                if own and run["parent_task_run_id"] is None:
                    assert run["parameters"]["params"]["experiment"] == "dead"
                    return run
        return None

    try:
        gate.arrival()
        run = until(beating, "a heartbeat of the run to be killed")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    parts = [each["id"] for each in served.runs() if each["state_type"] not in ended]
    return run | {"with": parts}


def test_the_form_shows_every_parameter_filled_in_from_params_yaml(served: Served) -> None:
    deployment = served.ask("/deployments/name/pipeline/local")
    default = deployment["parameter_openapi_schema"]["properties"]["params"]["default"]
    assert default["sweep"]["runs"] == 3
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"]["cron"]
    assert not schedule["active"]


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("pipeline/local", {"params": {"sweep": {"runs": 0}}}, "runs"),
        ("sweep-only/local", {"params": {"sweep": {"batch_size": "many"}}}, "batch_size"),
        ("cook-again/local", {"soup": {"recipe": "minestrone"}}, "minestrone"),
        ("cook-again/local", {}, "soup"),
        ("import-and-cook/local", {"pool": {"folder": "pool", "runs": -1}}, "runs"),
        ("evaluate-version/local", {"registered": {"model": "../etc"}}, "../etc"),
    ],
)
def test_a_bad_parameter_is_refused_before_a_run_is_made(
    served: Served, name: str, parameters: dict[str, Any], says: str
) -> None:
    if "params" in parameters:  # a whole form, with one value that cannot be
        whole = checkouts.parameters(served.root)
        (part, bad) = next(iter(parameters["params"].items()))
        parameters = {"params": whole | {part: whole[part] | bad}}
    known = served.ask(f"/deployments/name/{name}")["id"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.ask(f"/deployments/{known}/create_flow_run", {"parameters": parameters})
    assert refused.value.code in (409, 422)
    assert says in refused.value.read().decode()
    assert not served.runs(name)


def test_nobody_knows_yet_that_a_run_is_dead(served: Served, dead: dict[str, Any]) -> None:
    assert served.ask(f"/flow_runs/{dead['id']}")["state_name"] == "Running"


def test_a_triggered_run_ends_with_a_soup_in_the_served_registry(
    served: Served, dead: dict[str, Any]
) -> None:
    started = time.monotonic()
    ran = served.run("prefect", "deployment", "run", "pipeline/local", "--watch")
    print(f"deployment run: {time.monotonic() - started:.0f} s")
    assert ran.returncode == 0, ran.stdout[-2000:] + served.log()[-3000:]
    client = mlflow_of(served)
    version = client.get_model_version_by_alias("tiny-soup", "champion")
    soup = client.get_run(version.run_id)
    assert soup.data.tags["soup.flow_run"] in {run["id"] for run in served.runs()}
    names = {run["name"] for run in served.ask("/task_runs/filter", {})}
    assert {"ft-000", "ft-001", "ft-002"} <= names
    artifacts = served.ask("/artifacts/filter", {})
    kinds = {each["key"]: each for each in artifacts if each["flow_run_id"] not in dead["with"]}
    assert {"sweep", "results"} <= set(kinds)
    assert float(kinds["sweep"]["data"]) == 100
    assert "greedy soup" in kinds["results"]["data"]


def test_what_is_registered_is_evaluated_by_itself(served: Served) -> None:
    def done() -> list[dict[str, Any]]:
        runs = served.runs("evaluate-version/local")
        return [run for run in runs if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]

    (run,) = until(done, "the evaluation of the registered version")
    assert run["state_type"] == "COMPLETED", served.log()[-3000:]
    assert run["parameters"]["registered"] == {"model": "tiny-soup", "version": "1"}
    assert run["parameters"]["params"]["experiment"] == "tiny"
    client = mlflow_of(served)
    version = client.get_model_version("tiny-soup", "1")
    logged = client.get_run(version.tags["soup.evaluation.tiny"])
    results = pd.read_csv(served.root / "out/tiny/results.csv")
    greedy = results[results["kind"] == "greedy"].set_index("split")["accuracy"]
    for split, name in (("test", "test"), ("dark", "shift/dark"), ("shifts", "shifts")):
        assert logged.data.metrics[f"{name}/accuracy"] == pytest.approx(greedy[split], abs=1e-12)
    assert float(version.tags["soup.evaluation.tiny.test"]) == pytest.approx(greedy["test"])
    (used,) = logged.inputs.model_inputs
    made = client.get_run(version.run_id).outputs.model_outputs
    assert used.model_id in {each.model_id for each in made}


def test_a_run_of_a_repository_pulls_data_and_results_and_redoes_what_was_changed(
    served: Served, places: dict[str, Path]
) -> None:
    root, clone = served.root, places["clones"] / "project"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    parameters = checkouts.parameters(root, evaluate={"bootstrap": 50})
    for command in (
        ["dvc", "add", "--quiet", "data"],
        ["dvc", "remote", "add", "--quiet", "--default", "store", str(places["remote"])],
        ["dvc", "push", "--quiet"],
        ["git", "add", "data.dvc", "dvc.lock", ".dvc/config"],
        [*git, "commit", "--quiet", "-m", "results"],
        ["git", "clone", "--quiet", "--bare", ".", str(places["repository"])],
    ):
        ran = checkouts.run(root, *command)
        assert ran.returncode == 0, ran.stderr
    work = places["repository"].with_suffix(".work")
    checkouts.run(root, "git", "clone", "--quiet", str(places["repository"]), str(work))
    (work / "params.yaml").write_text(yaml.safe_dump(parameters))
    with (work / "flows" / "pipeline.py").open("a") as code:
        code.write("\nprint('this is the code of the repository')\n")
    subprocess.run([*git, "commit", "--quiet", "-am", "fewer resamples"], cwd=work, check=True)
    subprocess.run(["git", "push", "--quiet"], cwd=work, check=True)
    sweep = json.loads((root / "out/tiny/finetune.json").read_text())

    ran = served.run("prefect", "deployment", "run", "pipeline/git", "--watch")
    assert ran.returncode == 0, ran.stdout[-2000:] + served.log()[-3000:]
    assert len(list((clone / "data" / "train").rglob("*.png"))) > 0
    assert "this is the code of the repository" in served.log()
    assert json.loads((clone / "out/tiny/finetune.json").read_text()) == sweep
    mine, theirs = ((at / "out/tiny/evaluate.json").read_text() for at in (root, clone))
    assert json.loads(mine)["digest"] != json.loads(theirs)["digest"]
    assert not (clone / "mlflow.db").exists()


def test_the_sweep_alone_another_soup_and_a_pool_of_checkpoints(served: Served) -> None:
    (automation,) = [
        each
        for each in served.ask("/automations/filter", {})
        if each["name"] == "evaluate what is registered"
    ]
    paused = served.run("prefect", "automation", "pause", "--id", automation["id"])
    assert paused.returncode == 0, paused.stderr
    pool = served.root / "pool"
    pool.mkdir()
    client = mlflow_of(served)
    sweep = json.loads((served.root / "out/tiny/finetune.json").read_text())["runs"]
    for name in ("ft-000", "ft-001"):
        found = client.get_run(sweep[name]).data.tags["soup.model_id"]
        weights = client.get_logged_model(found).artifact_location.removeprefix("file://")
        shutil.copy(Path(weights) / "model.safetensors", pool / f"{name}.safetensors")
    ran = served.run(
        "python",
        "-c",
        "import json, sys\n"
        "from flows.deployments import Pool, cook_again, import_and_cook, sweep_only\n"
        "from flows.project import default_params\n"
        "from soup.config.cooking import Cook\n"
        "default = default_params()\n"
        "def named(**changes): return default.model_copy(update=changes)\n"
        "made = {'again': cook_again(Cook(recipe='uniform'))}\n"
        "small = default.sweep.model_copy(update={'runs': 2})\n"
        "made['sweep'] = sweep_only(named(experiment='alone', sweep=small))\n"
        "pool = Pool(folder='pool', runs=2)\n"
        "made['pool'] = import_and_cook(pool, named(experiment='elsewhere'))\n"
        "print(json.dumps(made))\n",
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    made = json.loads(ran.stdout.splitlines()[-1])
    assert made["again"]["finetune"]["runs"] == sweep
    assert made["again"]["cook"]["recipe"] == "uniform"
    assert made["again"]["register"]["version"] == "2"
    assert set(made["sweep"]) == {"prepare", "base", "probe", "finetune"}
    assert set(made["sweep"]["finetune"]["runs"]) == {"probe", "ft-000", "ft-001"}
    assert not (served.root / "out/alone/cook.json").exists()
    assert set(made["pool"]["finetune"]["runs"]) == {"probe", "ft-000", "ft-001"}
    assert made["pool"]["register"]["version"] == "3"


def test_a_dead_run_is_marked_and_no_other(served: Served, dead: dict[str, Any]) -> None:
    def marked() -> bool:
        return bool(served.ask(f"/flow_runs/{dead['id']}")["state_type"] == "CRASHED")

    until(marked, "the dead run to be marked")
    for run in served.runs():
        if run["id"] not in dead["with"]:
            assert run["state_type"] != "CRASHED", run


def test_deploying_again_adds_nothing(served: Served) -> None:
    def there() -> list[str]:
        automations = served.ask("/automations/filter", {})
        deployments = served.ask("/deployments/filter", {})
        return sorted(each["name"] for each in [*automations, *deployments])

    before = there()
    ran = served.run("infra/prefect/deploy.sh")
    assert ran.returncode == 0, ran.stderr
    assert there() == before
    assert len(before) == 2 + 7


def mlflow_of(served: Served) -> Any:
    import mlflow

    uri = served.reach["MLFLOW_TRACKING_URI"]
    return mlflow.MlflowClient(uri, uri)
