"""What the design promises about the code itself."""

import importlib
import subprocess
import sys
from itertools import chain
from pathlib import Path

import grimp
import pytest
import yaml

from flows.pipeline import STAGES

REPO = Path(__file__).resolve().parents[1]
# Modules that carry results and do not make them: a change here redoes no stage.
CARRIERS = {
    "soup",
    "soup.data",
    "soup.data.errors",
    "soup.data.folders",
    "soup.data.split",
    "soup.errors",
    "soup.files",
    "soup.formats.errors",
    "soup.formats.files",
    "soup.formats.pickled",
    "soup.layout",
    "soup.lazy",
    "soup.local",
    "soup.models.fetching",
    "soup.models.likeness",
    "soup.params",
    "soup.places",
    "soup.progress",
    "soup.project",
    "soup.provenance",
    "soup.report",
    "soup.runner",
    "soup.stages",
    "soup.strict",
    "soup.sweep",
    "soup.tracking",
    "soup.tracking.ingredients",
    "soup.tracking.predictions",
    "soup.tracking.machine",
    "soup.tracking.registry",
    "soup.tracking.store",
    "soup.train",
    "soup.train.process",
    "soup.ingredient",
    "soup.checkpoint",
    "soup.recipes",
    "soup.recipes.judge",
    "soup.remote",
    "soup.shards",
    "soup.space",
}


def definitions() -> dict[str, dict]:
    return yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]


def test_dvc_and_the_pipeline_have_the_same_stages_in_the_same_order() -> None:
    assert [stage.name for stage in STAGES] == list(definitions())
    for name, stage in definitions().items():
        assert stage["cmd"] == f"python -m flows.{name}"


def test_every_stage_reads_what_an_earlier_one_wrote() -> None:
    written: set[str] = set()
    for stage in definitions().values():
        read = {dep for dep in stage["deps"] if dep.startswith("out/")}
        assert read <= written
        for kind in ("outs", "metrics", "plots"):
            written |= {next(iter(out)) for out in stage.get(kind, [])}


def test_only_evaluate_is_given_test_and_shifts() -> None:
    readers = [
        name
        for name, stage in definitions().items()
        if any(dep.endswith(("evaluation.csv", "protocols.json")) for dep in stage["deps"])
    ]
    assert readers == ["evaluate"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("soup", "flows")


# Of what a stage imports, what it does not run.
NOT_RUN = {
    "prepare": {
        "soup.evaluate",
        "soup.judging",
        "soup.models",
        "soup.models.vision",
        "soup.data.cache",
        "soup.data.decoding",
        "soup.data.images",
        "soup.data.prefetch",
    }
    | {"soup.metrics", "soup.sums", "soup.weights", "soup.data.transforms"},
    "probe": {"soup.judging", "soup.models.depth", "soup.sums", "soup.weights"}
    | {
        f"soup.train.{name}"
        for name in ("averages", "loop", "losses", "method", "schedule", "share", "step")
    },
    "finetune": {"soup.judging", "soup.sums", "soup.weights"},
    "register": {"soup.judging", "soup.sums", "soup.weights"},
    "base": {
        "soup.evaluate",
        "soup.judging",
        "soup.metrics",
        "soup.sums",
        "soup.weights",
        "soup.data.cache",
        "soup.data.decoding",
        "soup.data.images",
        "soup.data.prefetch",
    }
    | {"soup.data.archives", "soup.data.hub", "soup.data.modes", "soup.data.reading"},
}


@pytest.mark.parametrize("name", list(definitions()))
def test_a_stage_depends_on_every_file_that_can_change_its_result(
    graph: grimp.ImportGraph, name: str
) -> None:
    entry = "soup.train.finetune" if name == "finetune" else f"soup.stages.{name}"
    listed = {module_of(dep) for dep in definitions()[name]["deps"] if dep.endswith(".py")}
    reached = {entry, *reach(graph, entry, stop=CARRIERS)}
    missing = reached - listed - CARRIERS - NOT_RUN.get(name, set())
    assert not missing, f"dvc.yaml: {name} lacks {sorted(missing)}"
    for dep in definitions()[name]["deps"]:
        assert dep.startswith("out/") or (REPO / dep).is_file()


def reach(graph: grimp.ImportGraph, module: str, stop: set[str]) -> set[str]:
    """Our modules that one imports, directly or through others that are not in `stop`."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for found in graph.find_modules_directly_imported_by(waiting.pop()):
            if found.startswith("soup") and found not in seen and found not in stop:
                seen.add(found)
                waiting.append(found)
    return seen


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


HEAVY = ("prefect", "mlflow", "dvc", "timm", "open_clip", "torchvision", "pandas", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[m for m in {HEAVY} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def test_the_library_loads_no_heavy_stack() -> None:
    assert loaded_by("import soup") == set()


def test_the_test_above_can_fail() -> None:
    assert "pandas" in loaded_by("import pandas")


def test_fastapi_is_one_that_prefect_can_serve_with() -> None:
    """`pip check` does not see this: Prefect 3.8 breaks at import with FastAPI from 0.155 on."""
    assert importlib.import_module("prefect.server.api.server").create_app


def test_the_lock_names_no_addresses_and_covers_every_dependency() -> None:
    import tomllib

    lock = (REPO / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--" not in lock
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lock.splitlines()}
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {w.split(">")[0].split("[")[0].strip().lower().replace("_", "-") for w in wanted}
    assert names <= pinned
