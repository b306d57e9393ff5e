"""Data sets of the hub by name, from a stand-in of the hub on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from soup.config.params import ParamsError, parse
from soup.data.errors import DataError
from soup.data.split.manifest import Manifest
from soup.data.text.texts import open_texts
from soup.pipeline.project import Project
from soup.pipeline.stages import prepare
from tests.hubs import Repository, StandIn, commit, rows, stand_in
from tests.text_worlds import parameters

NAME = "films/reviews"
NAMES = ("neg", "pos")
TEXTS = [f"sentence {i} of {['bad', 'good'][i % 2]} films" for i in range(60)]
LABELS = [i % 2 for i in range(60)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, with a data set whose train split has two files."""
    with stand_in() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        repository = made.repositories[NAME] = Repository()
        repository.push(files())
        yield made


def files(names: tuple[str, ...] = NAMES, word: str = "") -> dict[str, bytes]:
    texts = [word + text for text in TEXTS]
    return {
        "data/train-00000-of-00002.parquet": rows(texts[:20], LABELS[:20], names),
        "data/train-00001-of-00002.parquet": rows(texts[20:40], LABELS[20:40], names),
        "data/test-00000-of-00001.parquet": rows(texts[40:50], LABELS[40:50], names),
        "data/validation-00000-of-00001.parquet": rows(texts[50:], LABELS[50:], names),
    }


def project(root: Path, said: list[str] | None = None, **data: Any) -> Project:
    raw = parameters(root, Path("none"))
    raw["data"] = {"root": "data", "text": {}, "hub": NAME, "heldout": {"per_class": 5}, **data}
    return Project(root, parse(raw), say=(said if said is not None else []).append)


def manifests(made: Project) -> tuple[Manifest, Manifest]:
    return Manifest.load(made.development), Manifest.load(made.evaluation)


def test_a_data_set_by_name_has_the_hubs_splits_and_class_names(
    tmp_path: Path, hub: StandIn
) -> None:
    said: list[str] = []
    made = project(tmp_path, said)
    record = prepare.run(made)
    development, evaluation = manifests(made)
    assert record["images"] == {"train": 30, "heldout": 10, "test": 10}
    assert record["hub"] == f"{NAME}@{commit(1)}"
    assert made.lineage()["hub"] == f"{NAME}@{commit(1)}"
    assert development.classes == NAMES
    folder = f"hub/films--reviews/{commit(1)[:12]}/data"
    assert {row.path.split("::")[0] for row in development} == {
        f"{folder}/train-00000-of-00002.parquet",
        f"{folder}/train-00001-of-00002.parquet",
    }
    assert {row.path.split("::")[0] for row in evaluation} == {
        f"{folder}/test-00000-of-00001.parquet"
    }
    label_of = dict(zip(TEXTS, LABELS, strict=True))
    texts = open_texts(made.images, made.manifest(made.development).rows)
    assert [label_of[text.text] for text in texts] == [
        NAMES.index(row.label) for row in development
    ]
    assert any(f"main is commit {commit(1)}" in line for line in said)
    assert not any("validation" in file for file in hub.downloads)


def test_what_is_there_is_the_same_data_without_the_hub(tmp_path: Path, hub: StandIn) -> None:
    prepare.run(project(tmp_path))
    first = manifests(project(tmp_path))
    hub.repositories[NAME].push(files(word="new "))
    hub.asked.clear()
    said: list[str] = []
    again = project(tmp_path, said)
    assert prepare.unchanged(again, {"listing": prepare._listing(again)})
    assert hub.asked == []
    prepare.run(again)
    assert manifests(again) == first
    assert len(hub.asked) == 1  # whether main has moved
    assert any(f"main of {NAME} has moved to {commit(2)}" in line for line in said)
    del hub.repositories[NAME]
    prepare.run(project(tmp_path))
    assert manifests(again) == first


def test_a_commit_is_never_asked_about_again(tmp_path: Path, hub: StandIn) -> None:
    hub.repositories[NAME].push(files(word="new "))
    pinned = {"dataset": NAME, "revision": commit(1)}
    prepare.run(project(tmp_path, hub=pinned))
    hub.asked.clear()
    prepare.run(project(tmp_path, hub=pinned))
    assert hub.asked == []
    development, _ = manifests(project(tmp_path, hub=pinned))
    assert commit(1)[:12] in development.rows[0].path


def test_a_further_split_comes_from_the_same_commit(tmp_path: Path, hub: StandIn) -> None:
    prepare.run(project(tmp_path))
    hub.repositories[NAME].push(files(word="new "))
    shifts = {"odd": {"folder": "hub:validation"}}
    made = project(tmp_path, shifts=shifts, test="hub:test")
    prepare.run(made)
    _, evaluation = manifests(made)
    texts = open_texts(made.images, evaluation.split("odd"))
    assert {text.text for text in texts} == {*TEXTS[50:]}
    held = project(tmp_path, heldout={"folder": "hub:validation"})
    prepare.run(held)
    assert len(manifests(held)[0].split("heldout")) == 10


def test_offline_nothing_is_asked_and_missing_files_are_named(
    tmp_path: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare.run(project(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    prepare.run(project(tmp_path))
    with pytest.raises(DataError, match=r"validation-00000-of-00001.parquet of films/reviews can"):
        prepare.run(project(tmp_path, test="hub:validation"))
    assert hub.asked == []


def test_a_broken_connection_is_tried_again(tmp_path: Path, hub: StandIn) -> None:
    file = "data/train-00001-of-00002.parquet"
    hub.hangs_up[file] = 100
    made = project(tmp_path)
    prepare.run(made)
    asked = [line for line in hub.downloads if file in line]
    assert len(asked) == 2
    assert len(manifests(made)[0]) == 40


def test_files_that_were_fetched_before_a_failure_are_kept(tmp_path: Path, hub: StandIn) -> None:
    repository = hub.repositories[NAME]
    last = "data/test-00000-of-00001.parquet"
    late = repository.commits[commit(1)].pop(last)
    with pytest.raises(DataError, match="has no split 'test'"):
        prepare.run(project(tmp_path))
    assert hub.downloads == []  # the splits are checked before anything is fetched
    repository.commits[commit(1)][last] = late
    repository.absent = last
    with pytest.raises(DataError, match=rf"{last} of {NAME} is no longer at commit"):
        prepare.run(project(tmp_path))
    repository.absent = ""
    hub.asked.clear()
    prepare.run(project(tmp_path))
    assert [line.partition(f"{commit(1)}/")[2] for line in hub.downloads] == [last]


def test_a_file_that_was_cut_is_fetched_again(tmp_path: Path, hub: StandIn) -> None:
    made = project(tmp_path)
    prepare.run(made)
    first = manifests(made)
    cut = tmp_path / "data" / first[0].rows[0].path.split("::")[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[:100])
    prepare.run(made)
    assert cut.read_bytes() == whole
    assert manifests(made) == first


def test_names_of_classes_stand_in_the_readme(tmp_path: Path, hub: StandIn) -> None:
    card = (
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n"
        "        names: {'0': bad, '1': fine}\n---\n"
    )
    hub.repositories[NAME].push({**files(names=()), "README.md": card.encode()})
    made = project(tmp_path)
    prepare.run(made)
    development, _ = manifests(made)
    label_of = dict(zip(TEXTS, LABELS, strict=True))
    texts = open_texts(made.images, development.rows)
    assert [["bad", "fine"][label_of[text.text]] for text in texts] == [
        row.label for row in development
    ]


def test_data_in_another_format_come_from_the_branch_of_converted_files(
    tmp_path: Path, hub: StandIn
) -> None:
    repository = hub.repositories[NAME]
    repository.push({"train.csv": b"text,label\n"})
    converted = {
        f"default/{split}/0000.parquet": rows(TEXTS[a:b], LABELS[a:b], NAMES)
        for split, a, b in (("train", 0, 40), ("test", 40, 50))
    }
    number = repository.push(converted, "refs/convert/parquet")
    made = project(tmp_path)
    record = prepare.run(made)
    assert record["hub"] == f"{NAME}@{number}"
    assert record["images"] == {"train": 30, "heldout": 10, "test": 10}


def test_data_that_are_converted_in_part_only_are_refused(tmp_path: Path, hub: StandIn) -> None:
    repository = hub.repositories[NAME]
    repository.push({"train.csv": b""})
    with pytest.raises(DataError, match=r"no Parquet .* not converted it .*no branch"):
        prepare.run(project(tmp_path))
    repository.push({"default/partial-train/0000.parquet": b""}, "refs/convert/parquet")
    with pytest.raises(DataError, match=r"has not converted it .* in full; download its files"):
        prepare.run(project(tmp_path))


def test_hidden_labels_are_refused_with_what_to_name(tmp_path: Path, hub: StandIn) -> None:
    changed = {**files(), "data/test-00000-of-00001.parquet": rows(TEXTS[40:50], [-1] * 10, NAMES)}
    hub.repositories[NAME].push(changed)
    with pytest.raises(DataError, match=r"test.*labels are hidden \(-1 in all 10 rows\).*hub:val"):
        prepare.run(project(tmp_path))
    prepare.run(project(tmp_path, test="hub:validation"))
    few = rows(TEXTS[40:50], [-1, *LABELS[41:50]], NAMES)
    hub.repositories[NAME].push({**files(), "data/test-00000-of-00001.parquet": few})
    said: list[str] = []
    record = prepare.run(project(tmp_path, said, hub={"dataset": NAME, "revision": commit(3)}))
    assert record["images"]["test"] == 9
    assert any("row 1: its label is hidden (-1)" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "refuses", "told"),
    [
        ({"hub": "films/review"}, "", r"no data set films/review on .*private.*HF_TOKEN"),
        ({}, "GatedRepo", r"films/reviews is gated: accept its conditions at http.*hf auth login"),
        ({}, "RepoNotFound", r"there is no data set films/reviews"),
        ({}, "Disabled", r"refuses films/reviews \(403\): your HF_TOKEN is not valid"),
        ({"hub": {"dataset": NAME, "revision": "old"}}, "", r"no branch, tag or commit old"),
        ({"hub": {"dataset": NAME, "config": "x"}}, "", r"no configuration 'x'.*it has default"),
        ({"test": "hub:tset"}, "", r"no split 'tset' \(near: test.*test, train, validation"),
    ],
)
def test_one_line_says_which_and_what_to_do(
    tmp_path: Path, hub: StandIn, changes: dict[str, Any], refuses: str, told: str
) -> None:
    hub.repositories[NAME].refuses = refuses
    made = project(tmp_path, **changes)
    with pytest.raises(DataError, match=told) as raised:
        prepare.run(made)
    assert "\n" not in str(raised.value)
    assert not made.out.exists()


def test_a_hub_that_does_not_answer_is_named(tmp_path: Path, hub: StandIn) -> None:
    with stand_in() as gone:
        address = gone.address
    made = project(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        with pytest.raises(DataError, match=rf"{NAME} cannot be fetched from {address}.*mirror"):
            prepare.run(made)


def test_a_damaged_record_is_named(tmp_path: Path, hub: StandIn) -> None:
    made = project(tmp_path)
    prepare.run(made)
    file = tmp_path / "data/hub/films--reviews/main.json"
    good = json.loads(file.read_text())
    for bad in ({**good, "commit": "x"}, {**good, "splits": {"train": ["../x.parquet"]}}, [], {}):
        file.write_text(json.dumps(bad))
        with pytest.raises(DataError, match=r"main.json cannot be used.*delete it"):
            prepare.run(made)
        assert not prepare.unchanged(made, {"listing": ""})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"hub": None, "test": "hub:test"}, "hub:test needs the data set: hub: OWNER/NAME"),
        ({"hub": "https://huggingface.co/datasets/a/b"}, "dataset must be OWNER/NAME"),
        ({"hub": "../x"}, "dataset must be OWNER/NAME"),
        ({"hub": {"dataset": NAME, "revision": "a b"}}, "revision must be a branch, tag or commit"),
        ({"text": "cola"}, "with hub set text: {}, and soup.score"),
        ({"text": None}, "hub is of texts alone"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(data: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        project(Path(), **data)
