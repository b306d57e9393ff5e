"""ReaL labels: several an image or none, scored as published."""

import json
from pathlib import Path

import numpy as np
import pytest

from soup.config.data import Data, HeldOut
from soup.data.shifts.imagenet import wnids
from soup.data.shifts.protocol import REAL, EvaluationProtocol, join_labels
from soup.data.shifts.real import labels
from soup.data.sources.folders import DataError
from soup.data.split.prepare import prepare
from soup.evaluation.metrics import correct
from soup.evaluation.targets import targets_of
from tests import imagenets, published

HELD = [0, 1, 65, 970]


def name(number: int) -> str:
    return f"val/n01440764/ILSVRC2012_val_{number:08d}.JPEG"


def write(folder: Path, sets: object) -> Path:
    path = folder / "real.json"
    path.write_text(json.dumps(sets))
    return path


def test_an_image_has_the_labels_of_its_place_in_the_list(tmp_path: Path) -> None:
    file = write(tmp_path, [[970, 65], [], [0], [1, 1]])
    found = labels(file, [name(n) for n in (3, 1, 2, 4)], wnids())
    w = wnids()
    assert found == {name(3): w[0], name(1): f"{w[65]}|{w[970]}", name(4): w[1]}


def test_of_a_train_set_with_some_classes_only_those_count(tmp_path: Path) -> None:
    file = write(tmp_path, [[970, 65], [970], [0]])
    found = labels(file, [name(n) for n in (1, 2, 3)], ["tench", "sea snake"])
    assert found == {name(1): "sea snake", name(3): "tench"}


def test_real_is_scored_as_published_on_answers_to_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    sets = [rng.choice(1000, size=rng.integers(0, 4), replace=False).tolist() for _ in range(60)]
    file = write(tmp_path, sets)
    images = [Path(name(n)) for n in rng.permutation(60) + 1]
    found = labels(file, map(str, images), wnids())
    rows = sorted((path, label) for path, label in found.items())
    logits = rng.normal(size=(60, 1000)).astype(np.float32)
    for row, image in enumerate(images):
        for label in sets[int(image.stem[-8:]) - 1][:1]:
            logits[row, label] += 4
    protocol = EvaluationProtocol({c: (c,) for c in wnids()}, of="test")
    own = targets_of(REAL, rows, wnids(), protocol, {"test": [str(image) for image in images]})
    hits = correct(own.project(logits), own.labels)
    expected = published.real(file, images, dict(zip(images, logits.tolist(), strict=True)))
    assert {Path(path): bool(hit) for (path, _), hit in zip(rows, hits, strict=True)} == expected
    assert 0.3 < hits.mean() < 0.97
    assert any(len(each) > 1 for each in sets)
    assert len(expected) < 60


def test_prepare_lists_the_test_images_again_under_their_real_labels(tmp_path: Path) -> None:
    imagenets.validation(tmp_path / "train", HELD, each=3)
    imagenets.validation(tmp_path / "test", HELD, each=2)  # 1 and 5: class 0; 2 and 6: class 1; ...
    write(tmp_path, [[0], [65, 1], [], [970], [0, 65, 970], [999], [65], [970]])
    data = Data(root=".", heldout=HeldOut(per_class=1), real="real.json")
    (tmp_path / "test" / wnids()[970] / "ILSVRC2012_val_00000008.JPEG").write_bytes(b"spoilt")
    made = prepare(data, tmp_path)
    rows = [row for row in made.evaluation if row.split == REAL]
    tests = {row.path: row for row in made.evaluation if row.split == "test"}
    assert {int(Path(r.path).stem[-8:]): r.label for r in rows} == {
        1: wnids()[0],
        2: join_labels((wnids()[1], wnids()[65])),
        4: wnids()[970],
        5: join_labels((wnids()[0], wnids()[65], wnids()[970])),
        7: wnids()[65],
    }
    assert all(row.content == tests[row.path].content for row in rows)
    assert made.protocols[REAL].of == "test"
    assert made.notes == ("ReaL: 6 of 8 test images have labels",)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({"1": [0]}, "must be a list of lists"),
        ([0, 1], "must be a list of lists"),
        ([[0], [1000, 1], [-1], ["2"]], r"image 2: \[1000, 1\], image 3: \[-1\], image 4: \['2'\]"),
        ([[0]], r"to 00000001; these test images are none of them: .*_00000002.JPEG, .*other.JPEG"),
    ],
)
def test_labels_that_cannot_be_used_are_told_why(tmp_path: Path, sets: object, told: str) -> None:
    paths = [name(1), name(2), "val/n01440764/other.JPEG"]
    with pytest.raises(DataError, match=told):
        labels(write(tmp_path, sets), paths, wnids())


def test_a_missing_file_of_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.real: .*real\.json cannot be read: .*No such file"):
        labels(tmp_path / "real.json", [name(1)], wnids())
