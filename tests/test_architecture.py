"""What the design promises about the code itself."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import grimp
import pytest
import yaml

from flows.stages import STAGES
from tests.checkouts import REPO
from tests.forked import Forks

# Code that carries values and results but makes none: a change there redoes no stage.
CARRIERS = (
    "soup.commit",
    "soup.config",  # what it yields is in a stage's parameters
    "soup.cores",
    "soup.errors",
    "soup.files",
    "soup.known_digests",
    "soup.limits",
    "soup.pipeline.project",
    "soup.pipeline.soup_card",  # beside the soup, and no output that DVC knows
    "soup.pipeline.stage_record",
    "soup.pipeline.sweep",
    "soup.report",
    "soup.threads",  # results do not depend on their number
    "soup.tracking",
)
ENTRIES = {"finetune": "soup.pipeline.sweep.opening"}  # the others' are their own modules
# Carriers that make what a stage is for: which fine-tunes there are, and the page.
MAKERS = {
    "finetune": {"soup.config", "soup.pipeline.sweep"},
    "report": {"soup.report", "soup.pipeline.soup_card"},
}
# The demo's images are drawn once, whatever becomes of the training code that helped to.
NOT_FOLLOWED = {("prepare", "soup.pipeline.demo")}


def definitions() -> dict[str, dict]:
    """The stages of the pipeline, and `study`, of which DVC makes one for each study asked for."""
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def test_dvc_and_the_pipeline_have_the_same_stages_in_the_same_order() -> None:
    assert [*STAGES, "study"] == list(definitions())
    assert [flow.name for flow in STAGES.values()] == list(STAGES)
    for name, stage in definitions().items():
        key = " ${key}" if name == "study" else ""
        assert stage["cmd"] == f"python -m flows {name}{key}"


def test_every_stage_reads_what_an_earlier_one_wrote() -> None:
    written: set[str] = set()
    for stage in definitions().values():
        read = {dep for dep in stage["deps"] if dep.startswith("out/")}
        assert read <= written
        for kind in ("outs", "metrics", "plots"):
            written |= {next(iter(out)) for out in stage.get(kind, [])}


def test_only_evaluate_and_studies_are_given_test_and_shifts() -> None:
    readers = [
        name
        for name, stage in definitions().items()
        if any(dep.endswith(("evaluation.csv", "protocols.json")) for dep in stage["deps"])
    ]
    assert readers == ["evaluate", "study"]
    chosen = {dep for name in ("cook", "register") for dep in definitions()[name]["deps"]}
    assert not any("studies" in dep for dep in chosen)  # nor do they choose anything


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("soup", "flows")


@pytest.mark.parametrize("name", list(definitions()))
def test_a_stage_depends_on_the_packages_that_its_code_imports(
    graph: grimp.ImportGraph, name: str
) -> None:
    listed = [dep for dep in definitions()[name]["deps"] if not dep.startswith("out/")]
    assert listed == sources_of(graph, name)
    assert all((REPO / dep).exists() for dep in listed)


def sources_of(graph: grimp.ImportGraph, stage: str) -> list[str]:
    """What a stage's `deps` have to list, by the import graph."""
    entry = ENTRIES.get(stage, f"soup.pipeline.stages.{stage}")
    carriers = tuple(c for c in CARRIERS if c not in MAKERS.get(stage, ()))
    seen, waiting = {entry}, [entry]
    while waiting:
        for found in graph.find_modules_directly_imported_by(waiting.pop()):
            if not found.startswith("soup.") or found in seen or within(found, carriers):
                continue
            seen.add(found)
            if (stage, package_of(found)) not in NOT_FOLLOWED:
                waiting.append(found)
    packages = {package_of(module) for module in seen} - {"soup.pipeline.stages"}
    return sorted(path_of(package) for package in packages)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def package_of(module: str) -> str:
    """The unit that a stage depends on: a package of `soup`; of `soup.pipeline`, what is in it."""
    parts = module.split(".")
    if parts[1] != "pipeline":
        return ".".join(parts[:2])
    return module if parts[2] == "stages" else ".".join(parts[:3])


def path_of(package: str) -> str:
    path = package.replace(".", "/")
    return path if (REPO / path).is_dir() else f"{path}.py"


HEAVY = ("prefect", "mlflow", "dvc", "timm", "open_clip", "torchvision", "pandas", "matplotlib")


def loaded_by(with_torch: Forks, statement: str) -> set[str]:
    ended = with_torch.python(statement)
    assert ended.code == 0, ended.err
    return {*HEAVY} & ended.loaded


def test_the_library_loads_no_heavy_stack(with_torch: Forks) -> None:
    assert loaded_by(with_torch, "import soup") == set()
    # Each name is loaded when it is asked for.
    assert loaded_by(with_torch, "from soup import *") == set()


def test_the_test_above_can_fail(with_torch: Forks) -> None:
    assert "pandas" in loaded_by(with_torch, "import pandas")


PLANTED = {
    "soup/weights/planted_upwards.py": "import soup.evaluation.metrics\n",
    "soup/planted_without_a_layer.py": "",
    "soup/data/planted_sideways.py": "import soup.models.batchnorm\n",
    "soup/recipes/planted_tracking.py": "import mlflow\n",
    "soup/train/planted_flows.py": "import flows.pipeline\n",
}


def contracts_with(root: Path, modules: Mapping[str, str]) -> str:
    """What lint-imports says of the project with more modules; it must object."""
    for name in ("soup", "flows"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(REPO / "pyproject.toml", root)
    for path, text in modules.items():
        (root / path).write_text(text)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    env = {"PYTHONPATH": str(root)}
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=env)
    assert ran.returncode == 1, ran.stdout
    return ran.stdout


@pytest.mark.slow
def test_imports_that_break_the_architecture_fail_the_contracts(tmp_path: Path) -> None:
    """Each is named; all in one run, as it reads the whole project."""
    said = contracts_with(tmp_path, PLANTED)
    assert [path for path in PLANTED if Path(path).stem not in said] == []


@pytest.mark.slow
def test_a_circle_of_packages_fails_the_contracts(tmp_path: Path) -> None:
    said = contracts_with(tmp_path, {"flows/terminal/planted.py": "import flows.pipeline\n"})
    assert "part of an import circle BROKEN" in said
    assert ".terminal -> .pipeline" in said


def test_fastapi_is_one_that_prefect_can_serve_with() -> None:
    """`pip check` does not see this: Prefect 3.8 breaks at import with FastAPI from 0.155 on."""
    assert importlib.import_module("prefect.server.api.server").create_app
