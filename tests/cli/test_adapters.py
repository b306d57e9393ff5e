"""soup cook, inspect and import on the folders of PEFT adapters."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import soup as library
from tests.cli.conftest import Command
from tests.weights.adapters.peft_models import adapter, base, largest_gap, merged


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A base and two adapters of it."""
    start = base(tmp_path)
    for seed, name in enumerate("ab"):
        merged = adapter(start, tmp_path / name, seed=seed, r=4 + seed)
        library.save(merged, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_adapters_are_averaged_as_the_models_they_stand_for(soup: Command, world: Path) -> None:
    out = world / "out.safetensors"
    words = ("--base", world / "base.safetensors", world / "a", world / "b")
    said = soup("cook", "-r", "uniform", "-o", out, *words)
    assert said.code == 0, said.err
    models = [library.Checkpoint(world / f"{name}.safetensors") for name in "ab"]
    assert largest_gap(library.Checkpoint(out), library.average(models)) < 1e-6
    notes = library.Checkpoint(out).metadata
    assert notes["base"] == library.Checkpoint(world / "base.safetensors").digest()
    assert set(json.loads(notes["ingredients"])) == {"a", "b"}
    assert soup("inspect", *words).code == 0
    stock = soup("cook", "-r", "stock", "-o", out, *words)
    assert stock.code == 0, stock.err


def test_a_soup_is_written_as_an_adapter(soup: Command, world: Path) -> None:
    out, start = world / "new" / "soup", world / "base.safetensors"
    words = ("-r", "uniform", "--base", start, "-o", out, world / "a", world / "b")
    said = soup("cook", "--rank", "sum", "--weights", "3,1", *words, "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["rank"] == 9
    assert report["largest_difference"] < 1e-6
    models = [library.Checkpoint(world / f"{name}.safetensors") for name in "ab"]
    assert largest_gap(merged(start, out), library.average(models, [3, 1])) < 1e-6
    shorter = soup("cook", "--rank", "4", *words)
    assert "the smaller rank leaves out" in shorter.err
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 4
    assert soup("cook", "-r", "uniform", "--base", start, "-o", world / "w", out).code == 0
    for other in (("-r", "stock"), ("-r", "uniform", "--set", "schedule=sqrt")):
        refused = soup("cook", *other, "--rank", "sum", *words[2:])
        assert refused.code == 2
        assert "--rank is of a mean of whole models" in refused.err


def test_a_soup_of_adapters_that_only_replace_modules_is_written_as_one(
    soup: Command, world: Path
) -> None:
    out, start = world / "new", world / "base.safetensors"
    bias = "base_model.model.head.bias"
    for name in "ab":
        tensors = {bias: torch.full((3,), float(ord(name)))}
        library.save(tensors, world / name / "adapter_model.safetensors")
    words = ("-r", "uniform", "--base", start, "-o", out, world / "a", world / "b")
    said = soup("cook", "--rank", "sum", *words)
    assert said.code == 0, said.err
    assert "its weights are at most 0.0e+00 from the soup's" in said.err
    assert library.Checkpoint(out / "adapter_model.safetensors")[bias].tolist() == [97.5] * 3


def test_the_file_of_an_adapter_stands_for_its_folder(soup: Command, world: Path) -> None:
    file = world / "a" / "adapter_model.safetensors"
    words = ("--base", world / "base.safetensors", "-o", world / "out.safetensors")
    assert soup("cook", "-r", "uniform", *words, file, world / "b").code == 0


def test_an_adapter_becomes_a_whole_model(soup: Command, world: Path) -> None:
    out = world / "whole.safetensors"
    said = soup("import", world / "a", "--base", world / "base.safetensors", "-o", out)
    assert said.code == 0, said.err
    assert largest_gap(load_file(out), load_file(world / "a.safetensors")) < 1e-6
    refused = soup("import", out, "--base", out, "-o", world / "x.safetensors")
    assert refused.code == 2
    assert "--base is for adapters" in refused.err


def test_what_is_wrong_is_said_and_nothing_is_written(soup: Command, world: Path) -> None:
    out = world / "out.safetensors"
    start = world / "base.safetensors"

    def refusal(*words: object) -> str:
        said = soup(*words, "-o", out)
        assert said.code == 2
        assert not out.exists()
        return said.err

    assert "a is an adapter of PEFT, which is no model without its base" in refusal(
        "cook", "-r", "uniform", world / "a", world / "b"
    )
    assert "no model without its base" in refusal("import", world / "a")
    for name, named in (("a", "org/one"), ("b", "org/two")):
        file = world / name / "adapter_config.json"
        values = json.loads(file.read_text()) | {"base_model_name_or_path": named}
        file.write_text(json.dumps(values))
    assert "org/one and org/two" in refusal(
        "cook", "-r", "uniform", "--base", start, world / "a", world / "b"
    )
    assert "adapter of PEFT" in soup("compare", world / "a", "--on", world).err
    shutil.copy(start, world / "other.safetensors")
    library.save({"x": torch.ones(2)}, world / "other.safetensors")
    assert "other.safetensors, which lacks" in refusal(
        "cook", "-r", "uniform", "--base", world / "other.safetensors", world / "a"
    )
