"""Digests: what changes one, what does not, and what counts as finished."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from soup.config.params import Params, parse
from soup.files import of_file, of_value
from soup.pipeline.stage_record import stage
from tests.checkouts import REPO

DVC = {
    "stages": {
        "boil": {
            "cmd": "true",
            "params": ["experiment", "soup"],
            "deps": ["soup/config", "soup/pans", "soup/pot.py", "out/${experiment}/water.txt"],
            "outs": ["out/${experiment}/stock.txt", {"out/${experiment}/boil.json": {}}],
            "plots": [{"out/${experiment}/steam.csv": {"x": "t"}}],
        },
        "base": {
            "cmd": "true",
            "params": ["experiment", "base", "data"],
            "outs": ["out/${experiment}/base.json"],
        },
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


def with_base(base: dict[str, Any]) -> Params:
    text = {"text": {}} if base.get("library") == "transformers" else {}
    return params(base=base, data={"root": "d", **text})


def base_is_done(root: Path, base: dict[str, Any]) -> bool:
    return stage("base", with_base(base), root).finished() is not None


def made_base(root: Path, base: dict[str, Any]) -> None:
    stage("base", with_base(base), root).finish({})
    assert base_is_done(root, base)


@pytest.mark.parametrize(
    ("file", "base"),
    [
        ("w.safetensors", {"model": "m", "weights": "{}/w.safetensors"}),
        (
            "w.safetensors",
            {"model": "m", "kwargs": {"pretrained_cfg_overlay": {"file": "{}/w.safetensors"}}},
        ),
        ("shard-2.bin", {"model": "m", "weights": "{}/w.index.json"}),
        ("clip.json", {"library": "open_clip", "model": "{}/clip.json", "weights": "openai"}),
        ("config.json", {"library": "open_clip", "model": "local-dir:{}", "weights": "openai"}),
        ("config.json", {"library": "transformers", "model": "{}"}),
        ("model.bin", {"library": "transformers", "model": "m", "weights": "{}"}),
        ("words.txt", {"library": "transformers", "model": "m", "tokenizer": "{}"}),
    ],
)
def test_a_base_is_made_anew_from_files_of_other_content_not_for_want_of_them(
    root: Path, file: str, base: dict[str, Any]
) -> None:
    folder = root / "given"
    folder.mkdir()
    (folder / "w.index.json").write_text("{}")
    (folder / file).write_text("one")
    base = json.loads(json.dumps(base).replace("{}", str(folder)))
    base["kwargs"] = base.get("kwargs", {})
    made_base(root, base)
    (folder / file).write_text("two")  # as long as before
    assert not base_is_done(root, base)
    made_base(root, base)
    (folder / file).unlink()
    assert base_is_done(root, base)


def test_a_base_follows_a_file_that_is_there_only_now(root: Path) -> None:
    base = {"model": "m", "weights": str(root / "w.safetensors")}
    made_base(root, base)
    (root / "w.safetensors").write_text("weights")
    assert not base_is_done(root, base)


def test_a_damaged_list_of_what_a_base_read_is_none(root: Path) -> None:
    file = root / "w.safetensors"
    file.write_text("weights")
    base = {"model": "m", "weights": str(file)}
    made_base(root, base)
    record = root / "out/e/base.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"reads": [str(file)]}))
    assert not base_is_done(root, base)


@pytest.mark.parametrize(
    ("data", "other"),
    [
        ({"shapes": {"upstream": 300}}, True),
        ({"shapes": {"seed": 7}}, True),
        ({"shapes": {"test": 50}}, False),
        ({"text": {"task": "rte"}}, True),
        ({"heldout": {"fraction": 0.3}}, False),
    ],
)
def test_a_base_follows_the_data_that_it_is_made_of(
    root: Path, data: dict[str, Any], other: bool
) -> None:
    plain: dict[str, Any] = {"root": "d"} | ({"shapes": {}} if "shapes" in data else {})
    base = {"model": "m"} | ({"library": "transformers"} if "text" in data else {})
    if "text" in data:
        plain["text"] = {}
    before = stage("base", params(data=plain, base=base), root).digest
    after = stage("base", params(data={"root": "d"} | data, base=base), root).digest
    assert (after != before) == other


def test_the_base_of_the_project_has_what_it_is_made_of_among_its_parameters() -> None:
    assert "data" in yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]["base"]["params"]


def test_a_value_has_one_digest_whatever_the_order_of_its_keys() -> None:
    assert of_value({"a": 1, "b": [2]}) == of_value(json.loads('{"b": [2], "a": 1}'))
    assert of_value({"a": 1}) != of_value({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        of_value(float("nan"))
