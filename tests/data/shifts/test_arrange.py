"""Generated copies of the official layouts, scored as the published evaluation scores them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from soup.config.data import Data, HeldOut, Shift
from soup.config.params import load
from soup.data.shifts.arrange import Arranged, arrange, files
from soup.data.shifts.imagenet import IMAGENET_A, IMAGENET_R, wnids
from soup.data.shifts.protocol import REAL
from soup.data.sources.folders import DataError, scan
from soup.data.split.prepare import prepare
from soup.evaluation.metrics import correct
from soup.evaluation.targets import targets_of
from tests import imagenets, published
from tests.imagenets import asked, problem

Score = Callable[[Path, published.Logits], published.Right]
KINDS: Mapping[str, tuple[Callable[[Path], Path], Score]] = {
    "imagenetv2": (imagenets.imagenetv2, published.imagenetv2),
    "imagenet-r": (
        lambda folder: imagenets.by_wnid(folder, IMAGENET_R),
        lambda folder, logits: published.some_wnids(folder, logits, wnids(), IMAGENET_R),
    ),
    "imagenet-a": (
        lambda folder: imagenets.by_wnid(folder, IMAGENET_A, "0.01_digital clock _ {}_0.8.jpg"),
        lambda folder, logits: published.some_wnids(folder, logits, wnids(), IMAGENET_A),
    ),
    "imagenet-sketch": (
        lambda folder: imagenets.by_wnid(folder, range(1000), "sketch_{}.JPEG"),
        lambda folder, logits: published.some_wnids(folder, logits, wnids(), range(1000)),
    ),
    "objectnet": (imagenets.objectnet, published.objectnet),
}


def right(made: Arranged, split: str, classes: tuple[str, ...], logits: np.ndarray) -> np.ndarray:
    """As evaluate does it: logits in the order of the rows."""
    rows = [(image.path, image.label) for image in made.images[split]]
    own = targets_of(split, rows, classes, made.protocols[split], {})
    return correct(own.project(logits), own.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_set_is_known_and_scored_as_published(tmp_path: Path, kind: str) -> None:
    make, score = KINDS[kind]
    folder = make(tmp_path / "shift")
    made = asked(tmp_path, wnids(), layout=kind)
    assert made.problems == ()
    assert asked(tmp_path, wnids(), layout="auto") == made
    paths = [tmp_path / image.path for image in made.images["shift"]]
    logits = np.random.default_rng(3).normal(size=(len(paths), 1000)).astype(np.float32)
    # A third of the answers is made nearly right, or few would be.
    for row, image in enumerate(made.images["shift"]):
        group = made.protocols["shift"].answers[image.label]
        logits[row, wnids().index(group[row % len(group)])] += 6 * (row % 3 == 0)
    expected = score(folder, dict(zip(paths, logits.tolist(), strict=True)))
    hits = right(made, "shift", wnids(), logits)
    assert dict(zip(paths, hits.tolist(), strict=True)) == expected
    assert 0.1 < hits.mean() < 0.9
    assert made.protocols["shift"].border == (2 if kind == "objectnet" else 0)


def test_a_copy_of_objectnet_may_be_named_by_its_images_too(tmp_path: Path) -> None:
    imagenets.objectnet(tmp_path / "shift")
    whole = asked(tmp_path, wnids())
    (tmp_path / "shift").rename(tmp_path / "objectnet-1.0")
    (tmp_path / "shift").symlink_to(tmp_path / "objectnet-1.0" / "images")
    data = Data(root=".", shifts={"s": Shift(folder="objectnet-1.0/images")})
    found = {"s": scan(tmp_path, "objectnet-1.0/images")[0]}
    made = arrange(data, found, wnids(), tmp_path)
    assert made.protocols["s"] == whole.protocols["shift"]
    assert [i.label for i in made.images["s"]] == [i.label for i in whole.images["shift"]]


@pytest.mark.parametrize("kind", ["imagenet-r", "imagenetv2", "objectnet"])
def test_trains_own_names_are_as_good_as_wnids(tmp_path: Path, kind: str) -> None:
    """Of a train set that has some of ImageNet's classes; the rest is left out, and it is said."""
    named = {"backpack": 414, "Analog_Clock": 409, "goldfish": 1, "rocking chair": 765}
    KINDS[kind][0](tmp_path / "shift")
    classes = sorted(named)
    made = asked(tmp_path, classes)
    assert made.problems == ()
    expected = {
        "imagenet-r": {"goldfish", "backpack"},
        "imagenetv2": set(named),
        "objectnet": {"Analog_Clock", "backpack", "rocking chair"},
    }[kind]
    assert set(made.protocols["shift"].answers) == expected
    assert {image.label for image in made.images["shift"]} == expected
    (note,) = made.notes
    total = {"imagenet-r": 200, "imagenetv2": 1000, "objectnet": 15}[kind]
    left_out = total - len(made.images["shift"])
    assert note == (
        f"shift shift: layout {kind}, {len(expected)} answers; "
        f"{left_out} of {total} images are of other classes, left out"
    )


def test_a_class_without_a_usable_image_is_still_an_answer(tmp_path: Path) -> None:
    held = IMAGENET_R[:3]
    imagenets.validation(tmp_path / "train", held, each=3)
    imagenets.validation(tmp_path / "test", held, each=1)
    imagenets.by_wnid(tmp_path / "r", IMAGENET_R)
    (tmp_path / "r" / wnids()[held[1]] / f"art_{held[1]}.jpg").write_bytes(b"no image")
    data = Data(root=".", heldout=HeldOut(per_class=1), shifts={"r": Shift(folder="r")})
    made = prepare(data, tmp_path)
    names = {wnids()[at] for at in held}
    rows = [row for row in made.evaluation if row.split == "r"]
    assert {row.label for row in rows} == names - {wnids()[held[1]]}
    assert set(made.protocols["r"].answers) == names


def test_an_incomplete_download_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    KINDS["imagenet-a"][0](tmp_path / "shift")
    lost = [wnids()[at] for at in IMAGENET_A[:2]]
    for name in lost:
        for file in (tmp_path / "shift" / name).iterdir():
            file.unlink()
    told = problem(tmp_path, wnids(), layout="imagenet-a")
    assert told == (
        "shift shift: /shift should hold ImageNet-A's 200 folders, named by wnid (layout "
        f"imagenet-a), but lacks 2: {', '.join(lost)}; complete it, or say another layout"
    )


def test_one_set_in_the_place_of_another_is_an_error(tmp_path: Path) -> None:
    KINDS["imagenet-a"][0](tmp_path / "shift")
    told = problem(tmp_path, wnids(), layout="imagenet-r")
    extra = len(set(IMAGENET_A) - set(IMAGENET_R))
    assert f"but lacks {extra}: n" in told
    assert "has others: n" in told


def test_an_unknown_layout_is_told_what_was_looked_for_and_found(tmp_path: Path) -> None:
    imagenets.fill(tmp_path / "shift" / "imagenet-r", {"n01443537": ["a.jpg"]})
    told = problem(tmp_path, ["cat", "dog"])
    assert "/shift is in no known layout: it holds the folders imagenet-r; looked for\n" in told
    for kind in ("name", "index", "map", *KINDS):
        assert f"\n  {kind}: " in told
    assert told.endswith("say which with its 'layout', or give a class map with 'classes: FILE'")


def test_a_published_set_needs_classes_of_imagenet(tmp_path: Path) -> None:
    imagenets.imagenetv2(tmp_path / "shift")
    told = problem(tmp_path, ["goldfish", "crane", "gold fich"])
    assert "crane (may be n02012849 or n03126707), gold fich (near: goldfinch, goldfish" in told
    assert "these are not: crane (" in told


def test_every_problem_of_every_shift_is_reported_at_once(tmp_path: Path) -> None:
    imagenets.fill(tmp_path / "train", {"cat": ["a.jpg", "b.jpg"], "dog": ["a.jpg", "b.jpg"]})
    imagenets.fill(tmp_path / "test", {"cow": ["a.jpg"]})
    imagenets.fill(tmp_path / "one", {"what": ["a.jpg"]})
    imagenets.fill(tmp_path / "two", {"7": ["a.jpg"]})
    shifts = {"one": Shift(folder="one"), "two": Shift(folder="two", layout="index")}
    with pytest.raises(DataError) as caught:
        prepare(Data(root=".", shifts=shifts, real="real.json"), tmp_path)
    text = str(caught.value)
    assert "test has classes that train does not have: cow" in text
    assert "shift one: " in text
    assert "shift two: folders that are no class index below 2: 7" in text
    assert "train's classes must be ImageNet's" in text  # ReaL's labels are


def test_the_files_that_a_shift_is_read_by_are_watched(tmp_path: Path) -> None:
    imagenets.objectnet(tmp_path / "objectnet")
    (tmp_path / "map.csv").write_text("folder,class\n")
    shifts = {
        "objectnet": Shift(folder="objectnet"),
        "own": Shift(folder="own", classes="map.csv"),
        "other": Shift(folder="other", classes="gone.csv"),
    }
    assert set(files(Data(root=".", shifts=shifts, real="none.json"), tmp_path)) == {
        "map.csv",
        "objectnet/mappings/folder_to_objectnet_label.json",
        "objectnet/mappings/objectnet_to_imagenet_1k.json",
        "objectnet/mappings/pytorch_to_imagenet_2012_id.json",
        "objectnet/mappings/imagenet_to_label_2012_v2",
    }
    assert REAL not in shifts


def test_the_ready_made_file_has_the_five_shifts_in_their_layouts() -> None:
    repo = Path(__file__).resolve().parents[3]
    data = load(repo / "configs" / "imagenet_clip_vitb32.yaml").data
    assert {shift.layout for shift in data.shifts.values()} == set(KINDS)
    assert data.real == "real.json"
