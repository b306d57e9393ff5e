"""soup cook --weights, --exclude, --take and --dry-run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import soup as library
from tests.cli.conftest import Command

MODELS = {
    name: {
        "body.w": torch.tensor(body),
        "head.w": torch.tensor(head),
        "codes": torch.tensor(codes),
    }
    for name, body, head, codes in (("a", [0.0, 8], [1.0], [1, 2]), ("b", [4.0, 0], [3.0], [3, 4]))
}
COOK = ("cook", "-r", "uniform")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, tensors in MODELS.items():
        library.save(tensors, tmp_path / f"{name}.safetensors")
    return [tmp_path / f"{name}.safetensors" for name in MODELS]


def test_models_are_weighted_as_the_command_says(soup: Command, files: list[Path]) -> None:
    out = files[0].with_name("out.safetensors")
    said = soup(*COOK, "--weights", "3,1", "--exclude", "codes", "-o", out, *files)
    assert said.code == 0, said.err
    found = load_file(out)
    assert set(found) == {"body.w", "head.w"}
    assert found["body.w"].tolist() == [1.0, 6.0]
    assert json.loads(library.Checkpoint(out).metadata["weights"]) == "3,1"


def test_tensors_are_taken_from_one_model(soup: Command, files: list[Path]) -> None:
    out = files[0].with_name("out.safetensors")
    takes = ("--take", "*=last", "--take", "body.?=mean")
    said = soup(*COOK, *takes, "-o", out, *files)
    assert said.code == 0, said.err
    found = load_file(out)
    assert found["body.w"].tolist() == [2.0, 4.0]
    assert found["head.w"].tolist() == [3.0]
    assert found["codes"].tolist() == [3, 4]
    assert soup(*COOK, "--take", "codes=first", "-o", out, *files).code == 0
    assert load_file(out)["codes"].tolist() == [1, 2]


def test_the_base_is_seen_through_the_same_choices(soup: Command, files: list[Path]) -> None:
    base = files[0].with_name("base.safetensors")
    library.save({**MODELS["a"], "codes": torch.tensor([9, 9])}, base)
    out = files[0].with_name("out.safetensors")
    words = ("-r", "task", "--base", base, "--take", "codes=last", "--exclude", "head.*")
    said = soup("cook", *words, "-o", out, *files)
    assert said.code == 0, said.err
    assert load_file(out)["codes"].tolist() == [3, 4]


WRONG = {
    ("--weights", "1"): "1 numbers for 2 models",
    ("--weights", "1,x"): "give numbers",
    ("--weights", "1,-1"): "other than 0",
    ("--weights", "nan,1"): "other than 0",
    ("--weights", "1,1", "--set", "schedule=sqrt"): "--weights are those of the recipe uniform",
    ("--exclude", "hed.w"): "no model has such a tensor (near: head.w)",
    ("--exclude", "*"): "leaves no tensor",
    ("--take", "head.w"): "give NAME=first",
    ("--take", "head.w=best"): "give NAME=first",
    ("--take", "codes=mean"): "of the kind 'integers', which has no mean",
    ("--rank", "2", "--exclude", "codes"): "--rank goes without",
    ("--rank", "2"): "a is no adapter",
    ("--rank", "x"): "give a whole number",
    (): "codes: integers; integers that differ",
}


@pytest.mark.parametrize(("words", "answer"), WRONG.items(), ids=map(" ".join, WRONG))
def test_a_choice_that_is_none_is_named(
    soup: Command, files: list[Path], words: tuple[str, ...], answer: str
) -> None:
    out = files[0].with_name("out.safetensors")
    said = soup(*COOK, *words, "-o", out, *files)
    assert said.code == 2
    assert answer in said.err
    assert not out.exists()


def test_a_dry_run_tells_the_plan_and_does_nothing(soup: Command, files: list[Path]) -> None:
    out = files[0].parent / "new" / "out.safetensors"
    words = (*COOK, "--take", "codes=first", "--dry-run", "-o", out)
    before = sorted(files[0].parent.rglob("*"))
    said = soup(*words, *files)
    assert said.code == 0, said.err
    for part in ("would read", "3 tensors", "memory: about", "time: about", "nothing was written"):
        assert part in said.err
    plan = json.loads(soup(*words, "--json", *files).out)
    bytes_of_one = 2 * 4 + 4 + 2 * 8
    assert plan["models"] == {"a": bytes_of_one, "b": bytes_of_one}
    assert (plan["read"], plan["write"], plan["tensors"]) == (2 * bytes_of_one, bytes_of_one, 3)
    assert sorted(files[0].parent.rglob("*")) == before
    library.save({"other": torch.ones(1)}, files[1])
    assert soup(*words, *files).code == 2


def test_models_of_other_wrappers_are_averaged_and_told(soup: Command, files: list[Path]) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in MODELS["b"].items()}
    library.save(wrapped, files[1])
    out = files[0].with_name("out.safetensors")
    said = soup(*COOK, "--exclude", "codes", "-o", out, *files)
    assert said.code == 0, said.err
    assert "b.safetensors: the names are taken without wrappers (module.)" in said.err
    assert load_file(out)["body.w"].tolist() == [2.0, 4.0]
