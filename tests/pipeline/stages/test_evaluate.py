"""What evaluate looks at: images of each split once, and keys to the answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from soup.config.params import parse
from soup.data.loading.examples import ImageExamples
from soup.data.shifts.imagenet import wnids
from soup.data.split.manifest import Manifest
from soup.evaluation.result_tables import Model, table
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets
from soup.pipeline.data_sets import development_sets, evaluation_sets
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.project import Project
from soup.pipeline.stages import prepare
from soup.pipeline.stages.evaluate import _log
from soup.tracking import DataSet
from soup.tracking.tracked import Tracked
from tests import checkouts, imagenets, worlds

HELD = [0, 1, 409, 423, 530]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A train set of five of ImageNet's classes, ObjectNet and ReaL, prepared."""
    root = tmp_path / "data"
    imagenets.validation(root / "train", HELD, each=3)
    imagenets.validation(root / "test", HELD, each=2)
    imagenets.objectnet(root / "objectnet-1.0")
    framed = Image.new("RGB", (10, 10), (255, 0, 0))
    framed.paste((0, 0, 255), (2, 2, 8, 8))
    framed.save(root / "objectnet-1.0" / "images" / "chair" / "ch0.png")
    (root / "real.json").write_text("[[0], [1], [], [423, 1], [], [], [], [], [530], [0]]")
    parameters = checkouts.parameters(tmp_path)
    parameters["data"] = {
        "root": "data",
        "heldout": {"per_class": 1},
        "shifts": {"objectnet": {"folder": "objectnet-1.0"}},
        "real": "real.json",
    }
    made = Project(tmp_path, parse(parameters))
    said: list[str] = []
    made = replace(made, say=said.append)
    assert prepare.run(made)["shifts"] == said
    assert len(said) == 2
    return made


def opened(project: Project) -> tuple[dict[str, ImageExamples], dict[str, Targets]]:
    classes = tuple(sorted(wnids()[at] for at in HELD))
    heldout: Any = SimpleNamespace(labels=np.array([0, 1, 2, 3, 4]))
    return sets_of(project, worlds.architecture(6, classes), heldout)


def test_images_of_test_are_not_looked_at_twice_for_real(project: Project) -> None:
    sets, keys = opened(project)
    assert list(sets) == ["heldout", "test", "objectnet"]
    assert list(keys) == ["heldout", "test", "objectnet", "real"]
    assert (len(sets["test"]), len(sets["objectnet"])) == (10, 6)
    assert keys["real"].of == "test"
    assert keys["real"].rows is not None
    assert len(keys["real"].rows) == 5
    numbers = [int(path.stem[-8:]) for path in sets["test"].images.paths]
    labels = {
        n: [k for k in row if k >= 0]
        for n, row in zip(
            [numbers[at] for at in keys["real"].rows],
            np.atleast_2d(keys["real"].labels).tolist(),
            strict=True,
        )
    }
    assert labels == {1: [0], 2: [1], 4: [1, 3], 9: [4], 10: [0]}


def test_objectnet_is_decoded_without_its_border_and_judged_by_groups(project: Project) -> None:
    sets, keys = opened(project)
    names = [(path.parent.name, path.name) for path in sets["objectnet"].images.paths]
    assert {folder for folder, _ in names} == {"alarm_clock", "chair"}
    pixels = sets["objectnet"].images.pixels
    assert pixels is not None
    assert (pixels[names.index(("chair", "ch0.png"))] == (0, 0, 255)).all()
    assert keys["objectnet"].groups == ((2, 4), (3,))
    folders = ["alarm_clock", "chair"]
    assert [folders[at] for at in keys["objectnet"].labels] == [folder for folder, _ in names]


class Notebook:
    """A store that remembers what was logged."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def get(self, run_ids: list[str]) -> list[Tracked]:
        return [Tracked(run_id, "m", "FINISHED", "m-1", {}, {}, {}) for run_id in run_ids]

    def log(
        self, run_id: str, step: int, metrics: dict[str, float], model: str, of: Sequence[DataSet]
    ) -> None:
        assert model == "m-1"
        self.logged |= metrics
        self.starts = {data_set.metrics: data_set for data_set in of}

    def log_inputs(self, run_id: str, data_sets: Sequence[DataSet]) -> None:
        self.inputs = [*data_sets]


def test_each_split_is_scored_over_its_own_and_logged_by_its_name(
    project: Project, tmp_path: Path
) -> None:
    sets, keys = opened(project)
    rng = np.random.default_rng(0)
    logits = {split: rng.normal(size=(len(sets[split]), 5)) for split in ("test", "objectnet")}
    logits["heldout"] = np.eye(5)
    scores = score_splits(["m"], {}, keys, lambda _, split: logits[split], 15)
    frame = table([Model("m", "greedy", scores["m"])], ["objectnet"], project.resampling)
    counts = dict(zip(frame["split"], frame["n"], strict=True))
    assert counts == {"heldout": 5, "test": 10, "objectnet": 6, "real": 5, "shifts": 6}
    store: Any = Notebook()
    _log(store, frame, {"m": "run"}, evaluation_sets(project))
    names = {name.removesuffix("/accuracy") for name in store.logged if name.endswith("accuracy")}
    assert names == {"heldout", "test", "shift/objectnet", "real", "shifts"}
    assert names - {"shifts"} == store.starts.keys()  # a mean over data sets is of none of them
    assert store.inputs == [*store.starts.values()]
    sets = {name: (used.context, used.profile["examples"]) for name, used in store.starts.items()}
    assert sets == {
        "heldout": ("heldout", 5),
        "test": ("test", 10),
        "shift/objectnet": ("shift objectnet", 6),
        "real": ("test", 5),
    }
    train, heldout = development_sets(project)
    assert (train.context, train.profile) == ("training", {"examples": 10, "classes": 5})
    assert heldout == store.starts["heldout"]
    root = tmp_path / "data"
    wanted = {"train": "train", "heldout": "train", "test": "test", "real": "test"}
    made = {used.name: used for used in (train, *evaluation_sets(project))}
    assert {name.removeprefix("data/"): used.source for name, used in made.items()} == {
        **{split: str(root / folder) for split, folder in wanted.items()},
        "objectnet": str(root / "objectnet-1.0"),
    }
    rows = project.manifest(project.development).split("heldout")
    assert heldout.digest == Manifest(rows).digest
    assert len({used.digest for used in made.values()}) == len(made)
