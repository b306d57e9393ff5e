"""What a project hands to its stages: limits of pictures, and manifests within their bounds."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soup.config.params import parse
from soup.data.errors import DataError
from soup.data.reading import decoding, formats, image_file
from soup.data.reading.limits import Limits
from soup.pipeline import evaluation_sets, heldout
from soup.pipeline.project import Project
from soup.pipeline.stages import base, prepare
from soup.pipeline.sweep.fine_tunes import fine_tunes
from soup.pipeline.sweep.heldout_score import HeldoutScore
from tests import checkouts, worlds

BY_ACCURACY = HeldoutScore("accuracy", 0, None, np.zeros(0, np.int64))
HELDOUT: Any = SimpleNamespace(labels=np.zeros(1, np.int64))  # the examples of the held-out split


def made(root: Path, **data: Any) -> Project:
    worlds.world(root / "data", train=24, test=4)
    worlds.draw(root / "data" / "dark", {"blue": 3, "red": 3}, first=900)
    raw = checkouts.parameters(root)
    raw["data"] |= data
    return Project(root, parse(raw))


def test_raised_limits_reach_every_stage(tmp_path: Path) -> None:
    given = {"megapixels": 200, "megabytes": 900, "ratio": 300}
    project = made(tmp_path, limits=given)
    prepare.run(project)
    assert project.limits == project.image_store().limits == Limits(**given)
    jobs = [part.job for part in fine_tunes(project, {}, 1, BY_ACCURACY).values()]
    assert jobs
    assert all(job.limits == job.images.limits == Limits(**given) for job in jobs)


def test_prepare_reads_what_raised_limits_allow_whichever_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits of the environment, which are lower, count for none of its pictures."""
    for module in (decoding, formats, image_file):
        monkeypatch.setattr(module, "default_limits", lambda: Limits(1e-6, 1e-6, 1))
    for check in ("decode", "header"):
        project = made(tmp_path / check, check=check, limits={"megapixels": 200})
        train = project.images / "train" / "red"
        shutil.copy(train / "000.png", train / "copy.png")  # those that are alike are read whole
        record = prepare.run(project)
        assert record["skipped"] == []


def test_limits_change_no_digest_of_what_was_trained(tmp_path: Path) -> None:
    project = made(tmp_path)
    prepare.run(project)
    other = made(tmp_path, limits={"megapixels": 200})
    assert [*fine_tunes(project, {}, 1, BY_ACCURACY)] == [*fine_tunes(other, {}, 1, BY_ACCURACY)]
    digests = [
        {p.digest for p in fine_tunes(which, {}, 1, BY_ACCURACY).values()}
        for which in (project, other)
    ]
    assert digests[0] == digests[1]


def test_prepare_leaves_out_a_picture_beyond_the_limits_and_says_which(tmp_path: Path) -> None:
    project = made(tmp_path, limits={"megapixels": 0.0005})
    worlds.picture((9, 9, 9), 1, (30, 20)).save(tmp_path / "data/train/red/large.png")
    record = prepare.run(project)
    assert [path for path, _ in record["skipped"]] == ["train/red/large.png"]
    assert "too large: 30 x 20, 0.0 megapixels, of at most 0.0005" in record["skipped"][0][1]


@pytest.mark.parametrize("row", ["../elsewhere/x.png", "hfds:some/set@train::0000001"])
def test_no_stage_reads_an_image_that_a_changed_manifest_names_elsewhere(
    tmp_path: Path, row: str
) -> None:
    project, made_of = made(tmp_path), worlds.architecture()
    prepare.run(project)
    for file, split in ((project.development, "train"), (project.evaluation, "test")):
        lines = file.read_text() + f"{row},red,{split},\n"
        file.write_text(lines)

    ways = {
        "base": lambda: base.run(project),
        "fine-tunes": lambda: fine_tunes(project, {}, 1, BY_ACCURACY),
        "held-out": lambda: heldout.heldout_of(project, made_of),
        "training": lambda: heldout.training_of(project, made_of, 4),
        "evaluation": lambda: evaluation_sets.sets_of(project, made_of, HELDOUT),
    }
    for name, way in ways.items():
        with pytest.raises(DataError) as caught:
            way()
        assert f"names 1 images that are not where the parameters say: {row}" in str(
            caught.value
        ), name
