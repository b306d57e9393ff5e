"""Names are shown as they are, whatever Rich would read in them."""

import ast
import contextlib
import re
import sys
from pathlib import Path

import pytest
import torch

from soup import cli
from soup.cli import terminal
from soup.weights.checkpoint import save
from tests.checkouts import REPO
from tests.cli.conftest import Candidates, Command

ODD = ("run[v1]", "[bold]", "[/x]", "[/]", "a[b", ":apple:", "[link=x]", r"\[red]", "$x_{")


def test_no_name_is_read_as_markup_or_as_an_emoji(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 400)
    for name in ODD:
        terminal.say(terminal.bold(name), name)
        terminal.warn(name)
        terminal.fail(name)
        terminal.table(name, [name, f">{name}"], [(name, None), (name, 1)])
        assert capsys.readouterr().err.count(name) == 9, name


@pytest.mark.parametrize("verb", ["inspect", "cook", "explain", "import"])
def test_verbs_say_the_names_of_files_and_tensors(soup: Command, tmp_path: Path, verb: str) -> None:
    names = ["run[v1]", "[bold]x", "a[b", ":apple:"]
    models = [tmp_path / f"{name}.safetensors" for name in names]
    for seed, path in enumerate(models):
        save({"fc[/x].weight": torch.randn(3, 2, generator=torch.manual_seed(seed))}, path)
    out = tmp_path / "new [folder]" / "soup[v2].safetensors"
    options = {"cook": ["-r", "uniform", "-o", out], "import": ["-o", out]}.get(verb, [])
    said = soup(verb, *options, *(models[:1] if verb == "import" else models))
    assert said.code == (1 if verb == "inspect" else 0)
    assert all(str(name) in said.err for name in ([out] if options else names)), said.err
    assert (f"made the folder {out.parent}" in said.err) == bool(options)


@pytest.mark.parametrize(
    "arguments",
    [["recipes"], ["recipes", "learned"], ["study", "--list"], ["inspect"], ["compare"]],
)
def test_no_word_of_a_table_is_broken(
    candidates: Candidates,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    models = candidates.models
    options = {"inspect": models, "compare": ["--on", candidates.heldout, *models]}
    given = ["soup", *arguments, *map(str, options.get(arguments[0], []))]
    monkeypatch.setattr(sys, "argv", given)
    shown = {}
    for width in (2000, 60, 80, 120):
        monkeypatch.setattr(terminal.console, "width", width)
        with contextlib.suppress(SystemExit):
            cli.main()
        shown[width] = capsys.readouterr().err
    whole = {*shown.pop(2000).split()}
    for width, text in shown.items():
        assert {*text.split()} - whole == set(), width
        tables = [line for line in text.splitlines() if line.endswith(" ")]
        assert max(map(len, tables), default=0) <= width


def test_no_code_writes_markup() -> None:
    styled = re.compile(r"\[/?(bold|dim|red|green|yellow|italic)\b|\[/\]")
    may_be = re.compile(r"\b(bold|dim|red|green|yellow|italic)\b|\[/")  # also in parts of strings
    found = [
        f"{file}:{node.lineno}"
        for file in [*REPO.glob("soup/**/*.py"), *REPO.glob("flows/**/*.py")]
        if may_be.search(text := file.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if styled.search(node.value)
    ]
    assert not found, "text is shown as it is; styles are rich.text.Text"
