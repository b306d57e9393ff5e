"""Digests: what changes one, what does not, and what counts as finished."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from soup.config.params import Params, parse
from soup.files import of_file, of_value
from soup.pipeline.stage_record import stage

DVC = {
    "stages": {
        "boil": {
            "cmd": "true",
            "params": ["experiment", "soup"],
            "deps": ["soup/config", "soup/pans", "soup/pot.py", "out/${experiment}/water.txt"],
            "outs": ["out/${experiment}/stock.txt", {"out/${experiment}/boil.json": {}}],
            "plots": [{"out/${experiment}/steam.csv": {"x": "t"}}],
        }
    }
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "soup/pans/deep").mkdir(parents=True)
    (tmp_path / "soup/config").mkdir()
    (tmp_path / "soup/pans/deep/pan.py").write_text("pan = 1")
    (tmp_path / "soup/config/salt.py").write_text("salt = 1")
    (tmp_path / "out" / "e").mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(DVC))
    (tmp_path / "soup/pot.py").write_text("pot = 1")
    (tmp_path / "out/e/water.txt").write_text("water")
    return tmp_path


def params(**changes: Any) -> Params:
    plain = {
        "experiment": "e",
        "data": {"root": "d"},
        "base": {"model": "m"},
        "sweep": {"runs": 2},
    }
    return parse(plain | changes)


def test_a_digest_follows_the_parameters_of_the_stage_and_no_others(root: Path) -> None:
    digest = stage("boil", params(), root).digest
    assert stage("boil", params(), root).digest == digest
    assert stage("boil", params(soup={"recipe": "uniform"}), root).digest != digest
    assert stage("boil", params(sweep={"runs": 9}), root).digest == digest
    assert stage("boil", params(soup={"recipe": "greedy"}), root).digest == digest


@pytest.mark.parametrize(
    ("changed", "is_code"),
    [
        ("soup/pot.py", True),
        ("soup/pans/deep/pan.py", True),
        ("soup/pans/new.py", True),
        ("soup/config/salt.py", False),  # the values that it yields are digested themselves
        ("out/e/water.txt", False),
    ],
)
def test_a_digest_follows_every_file_the_stage_depends_on(
    root: Path, changed: str, is_code: bool
) -> None:
    before = stage("boil", params(), root)
    (root / changed).write_text("other")
    after = stage("boil", params(), root)
    assert after.digest != before.digest
    assert (after.code != before.code) == is_code


def test_compiled_code_is_no_part_of_a_digest(root: Path) -> None:
    before = stage("boil", params(), root)
    (root / "soup/pans/__pycache__").mkdir()
    (root / "soup/pans/__pycache__/pan.cpython-311.pyc").write_bytes(b"compiled")
    assert stage("boil", params(), root) == before


def test_a_missing_input_is_named(root: Path) -> None:
    (root / "out/e/water.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"boil needs out/e/water.txt, which is missing"):
        stage("boil", params(), root)


@pytest.fixture
def boiled(root: Path) -> Path:
    now = stage("boil", params(), root)
    assert now.finished() is None
    for out in now.outs:
        out.write_text(out.name)
    assert now.finished() is None
    record = now.finish({"salt": 3})
    assert record["salt"] == 3
    assert now.finished() == record
    return root


def test_a_finished_stage_is_known_by_another_process(boiled: Path) -> None:
    found = stage("boil", params(), boiled).finished()
    assert found is not None
    assert found["outs"] == {
        name: of_file(boiled / "out/e" / name) for name in ("stock.txt", "steam.csv")
    }


def test_a_stage_is_not_finished_for_other_parameters(boiled: Path) -> None:
    assert stage("boil", params(soup={"tie": "reject"}), boiled).finished() is None


@pytest.mark.parametrize("name", ["stock.txt", "steam.csv"])
def test_a_stage_is_not_finished_when_an_output_was_changed_or_lost(
    boiled: Path, name: str
) -> None:
    (boiled / "out/e" / name).write_text("spilt")
    assert stage("boil", params(), boiled).finished() is None
    (boiled / "out/e" / name).unlink()
    assert stage("boil", params(), boiled).finished() is None


def test_a_record_cut_short_is_no_record(boiled: Path) -> None:
    record = boiled / "out/e/boil.json"
    record.write_text(record.read_text()[:20])
    assert stage("boil", params(), boiled).finished() is None


def test_a_value_has_one_digest_whatever_the_order_of_its_keys() -> None:
    assert of_value({"a": 1, "b": [2]}) == of_value(json.loads('{"b": [2], "a": 1}'))
    assert of_value({"a": 1}) != of_value({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        of_value(float("nan"))
