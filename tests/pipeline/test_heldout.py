"""Every array that a stage caches counts against the limit that the user configured."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import soup
from soup.config.data import HeldOut
from soup.data.loading import image_store
from soup.data.loading.image_store import ImageStore
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe, register
from soup.pipeline.stages.evaluate_version import evaluate as evaluate_version
from soup.pipeline.sweep.opening import open_sweep
from tests.pipeline.projects import Silent, record
from tests.pipeline.sweep.test_imported_pool import pool
from tests.worlds import draw, job, world

PACKAGE = Path(soup.__file__).parent


def callers(name: str) -> set[str]:
    """The modules of the package that call something of this name."""
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if name in (text := file.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    }


def test_the_cache_is_reached_through_a_store_alone_and_stores_are_made_from_the_parameters() -> (
    None
):
    assert callers("kept") == {"data/loading/image_store.py"}
    # A project's, a fine-tune's, and that of the command, which has no parameters.
    expected = {"pipeline/project.py", "train/finetune.py", "cli/heldout_folder.py"}
    assert callers("ImageStore") == expected


def test_a_fine_tune_has_the_limit_of_its_parameters(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "development.csv").touch()
    given = job(tmp_path, {"cache_gib": 1.75})
    assert given.images == ImageStore(given.root, given.cache, 1.75)


def imported(project: Project) -> dict[str, Any]:
    opened = open_sweep(project, "code", threads=1)
    return opened.close({name: opened.run(name, ("cpu",), Silent()) for name in opened.steps})


def with_iterations(project: Project) -> dict[str, Any]:
    params = project.params
    longer = params.probe.model_copy(update={"max_iterations": 3})
    return probe.run(replace(project, params=params.model_copy(update={"probe": longer})))


@pytest.mark.slow
def test_every_stage_caches_within_the_configured_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path / "data", train=12, test=4)
    draw(tmp_path / "data" / "dark", {"blue": 2, "red": 2}, first=900)
    project = pool(tmp_path, 2)
    limited = project.params.compute.model_copy(update={"cache_gib": 1.75})
    data = project.params.data.model_copy(update={"heldout": HeldOut(per_class=3)})
    params = project.params.model_copy(update={"compute": limited, "data": data})
    project = replace(project, params=params)
    project.out.mkdir(parents=True)
    seen: list[float] = []
    kept = image_store.kept

    def recorded(file: Path, count: int, blocks: Any, gib: float, otherwise: str) -> Any:
        seen.append(gib)
        return kept(file, count, blocks, gib, otherwise)

    monkeypatch.setattr(image_store, "kept", recorded)
    stages: list[tuple[str, Callable[[Project], dict[str, Any]]]] = [
        ("prepare", prepare.run),
        ("base", base.run),
        ("probe", with_iterations),
        ("probe", probe.run),
        ("finetune", imported),
        ("cook", lambda project: cook.run(project, "c")),
        ("evaluate", lambda project: evaluate.run(project, "e")),
        ("register", register.run),
        ("version", lambda project: evaluate_version(project, "tiny-soup", "1")),
    ]
    for name, stage in stages:
        seen.clear()
        record(project, name, stage(project))
        # register takes the soup's predictions from cook.
        without_images = ("prepare", "base", "register")
        assert set(seen) == (set() if name in without_images else {1.75}), name
