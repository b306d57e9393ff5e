"""The commands of the README and of docs/pipeline.md: they are there, and those of `soup` run."""

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import timm
import torch

from soup.weights.checkpoint import save
from tests.checkouts import REPO
from tests.cli.conftest import Command
from tests.worlds import COLOURS, draw

PAGES = ["README.md", "docs/pipeline.md", "docs/checkpoints.md"]
ACTIVATE = ". .venv/bin/activate"
# What 'make setup' puts on the path of a shell that ran this line, and what every system has.
INSTALLED = ("dvc", "mlflow", "pip", "prefect", "python", "soup")
SYSTEM = (".", "cp", "git", "make", "pre-commit")


def commands(page: str) -> list[list[str]]:
    """The words of each command of a page: of indented lines, and in backquotes."""
    text = (REPO / page).read_text()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE) + re.findall(r"`([^`]+)`", text)
    known = (*INSTALLED, *SYSTEM)
    lines = [line.partition(" #")[0] for line in lines if line.split()[0] in known]
    return [words for words in map(shlex.split, lines) if len(words) > 1]


def test_the_readme_says_first_how_its_commands_are_found() -> None:
    text = (REPO / "README.md").read_text()
    first = min(text.index(f"    {name} ") for name in ("soup", "python"))
    assert text.index(ACTIVATE) < first
    assert ".venv/bin/soup" not in text
    assert ".venv/bin/python" not in text


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_there_is(page: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    for name, *rest in commands(page):
        if name == "make":
            assert rest[0] in targets
        if name == "python" and rest[1] == "flows":
            assert (REPO / "flows" / f"{rest[2]}.py").exists() or rest[2] in ("STAGE", "pipeline")
        if name == "cp":
            assert (REPO / rest[0]).is_file()
        if name == "pip" and "[" in rest[1]:
            extras = rest[1].removeprefix(".[").removesuffix("]").split(",")
            assert set(extras) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("page", ["README.md", "docs/checkpoints.md"])
def test_the_soup_commands_run_as_they_are_printed(
    soup: Command, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("HELDOUT", "TEST", "TRAIN"):
        draw(Path(folder), dict.fromkeys(COLOURS, 1))
    shutil.copy(next(Path("TEST").rglob("*.png")), "cat.png")
    model = timm.create_model("test_resnet", num_classes=3).eval()
    base = model.state_dict()
    save(base, "BASE")
    for name in ("A", "B", "C"):
        save({n: t + 0.01 * t.abs() if t.is_floating_point() else t for n, t in base.items()}, name)
    torch.save(base, "run1.pt")
    for name in ("ADAPTER", "ADAPTER1", "ADAPTER2"):
        a, b = torch.ones(2, base["fc.weight"].shape[1]), torch.ones(3, 2)
        factors = {"fc.lora_A.weight": a, "fc.lora_B.weight": b}
        save(factors, Path(name) / "adapter_model.safetensors")
        settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 1}
        (Path(name) / "adapter_config.json").write_text(json.dumps(settings))
    block = [each for each in commands(page) if each[0] == "soup" and len(each) > 3]
    assert {each[1] for each in block} >= {"import", "inspect", "cook", "compare", "predict"}
    for _, *words in block:
        said = soup(*["timm:test_resnet" if word == "timm:NAME" else word for word in words])
        assert said.code == 0, f"soup {' '.join(words)}: {said.err}"
