"""A model is predicted, and a file of weights hashed, no more often than needed."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from soup import known_digests
from soup.config.recipe import Recipe
from soup.evaluation.predict import predict
from soup.pipeline.project import Project
from soup.pipeline.stages import cook, evaluate, register
from soup.tracking import model_files
from soup.weights import digesting
from tests.pipeline.projects import champion_of, record, swept_project


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
    forget(swept)
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
        forget(swept)  # what is stored with the runs suffices
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
        soup = swept.params.soup.model_copy(update={"recipe": Recipe(name=recipe), "tie": "reject"})
        changes = {"soup": soup, "evaluate": default}
        changed = replace(swept, params=swept.params.model_copy(update=changes))
        record(swept, "cook", cook.run(changed, f"new {recipe}"))
        seen.clear()
        evaluate.run(changed, f"new {recipe}")
    assert seen == []  # both soups were evaluated beside the first


def test_another_recipe_passes_its_soup_alone_and_gives_the_bits_of_a_cold_start(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(model: Any, images: Any, *rest: Any) -> Any:
        seen.append(len(images))
        return predict(model, images, *rest)

    monkeypatch.setattr(evaluate, "predict", counted)
    forget(swept)
    tables = {}
    for recipe, start in (("greedy", "cold"), ("stock", "warm"), ("stock", "cold again")):
        soup = swept.params.soup.model_copy(update={"recipe": Recipe(name=recipe)})
        changed = replace(swept, params=swept.params.model_copy(update={"soup": soup}))
        record(swept, "cook", cook.run(changed, f"{recipe} {start}"))
        seen.clear()
        if start == "cold again":
            forget(swept)
        evaluate.run(changed, f"{recipe} {start}")
        names = ("results", "tests", "compared")
        tables[start] = len(seen), [(swept.out / f"{n}.csv").read_bytes() for n in names]
    models = len(json.loads((swept.out / "finetune.json").read_text())["runs"])
    assert tables["warm"][0] == 2  # its soup on test and the shift; keep_predictions is []
    assert tables["cold again"][0] >= 2 * (models + 2)
    assert tables["warm"][1] == tables["cold again"][1]


def test_selection_leaves_no_answers_to_test_or_shifts(swept: Project) -> None:
    """What cook knows of a model is what it answered on held-out, which its run stores."""
    forget(swept)
    cook.run(swept, "blind")
    assert not (swept.cache / "answers").exists()


def forget(project: Project) -> None:
    """Delete the answers that are kept beside the runs."""
    shutil.rmtree(project.cache / "answers", ignore_errors=True)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything up to the sweep is done."""
    return swept_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file of weights is hashed, from now on."""
    seen: Counter[Path] = Counter()
    at_once, in_steps = hashlib.file_digest, known_digests.sha256

    def count(path: str | Path) -> None:
        if Path(path).suffix == ".safetensors":
            seen[Path(path)] += 1

    def file_digest(file: Any, algorithm: str) -> Any:
        count(file.name)
        return at_once(file, algorithm)

    def sha256(path: str | Path) -> str:  # of small files no digest is kept
        count(path)
        return in_steps(path)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    for module in (digesting, model_files):
        monkeypatch.setattr(module, "sha256", sha256)
    return seen


def stored(files: Counter[Path]) -> list[Path]:
    """The files that are not of soups that are kept beside the results."""
    return [file for file in files if "soups" not in file.parts]


@pytest.mark.parametrize("recipe", ["greedy", "uniform"])
def test_no_pass_over_the_soup_and_no_hash_of_a_file_is_made_twice(
    swept: Project, monkeypatch: pytest.MonkeyPatch, hashed: Counter[Path], recipe: str
) -> None:
    soup = swept.params.soup.model_copy(
        update={"recipe": Recipe(name=recipe), "include_probe": False}
    )
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
    forget(swept)
    cooked = cook.run(other, f"once-{recipe}")
    assert set(hashed.values()) == {1}
    assert len(stored(hashed)) == len(runs)  # all but the probe's, and the soup's
    hashed.clear()
    record(swept, "cook", cooked)
    evaluate.run(other, f"once-{recipe}")
    assert set(hashed.values()) == {1}
    assert len(stored(hashed)) == len(runs) + 1
    heldout = cooked["examples"]
    assert heldout not in (12, 16)  # of test and of the shift
    assert seen.count(heldout) == 0
    # On test and shift; the greedy soup may be the uniform one, which is passed once.
    assert len(seen) in (2 * (len(runs) + 1), 2 * (len(runs) + 2))
    results = pd.read_csv(swept.out / "results.csv")
    row = results[(results["kind"] == recipe) & (results["split"] == "heldout")]
    assert (1 - row["accuracy"].item()) * heldout == pytest.approx(cooked["errors"])
    hashed.clear()
    seen.clear()
    done = register.run(other)
    assert set(hashed.values()) == {1}
    assert seen == []
    assert int(champion_of(other, done["version"]).tags["errors"]) == cooked["errors"]
