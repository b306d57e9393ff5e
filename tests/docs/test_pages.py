"""Every block of the pages that teach runs as it is printed, in order, in a fresh folder."""

import contextlib
import io
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkouts import REPO
from tests.cli.conftest import Command, soup  # noqa: F401  # the command, in this process
from tests.docs.blocks import Block, blocks, commands, fits
from tests.docs.given import GIVEN

# Pages that run in a clone of the project: tests/docs/test_tutorial.py does.
IN_A_CLONE = {"tutorial.md"}
LANGUAGES = {"sh", "python", "yaml", "text"}
# Blocks that nothing runs, in all pages together: each has its reason beside it.
MOST_NOT_RUN = 4


def teaching() -> list[str]:
    how_to = sorted(f"how-to/{file.name}" for file in (REPO / "docs/how-to").glob("*.md"))
    return ["tutorial.md", "honest-selection.md", *how_to]


def test_every_page_that_teaches_is_run() -> None:
    assert {*teaching()} == {*GIVEN} | IN_A_CLONE


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    found = [(page, block) for page in teaching() for block in blocks(page)]
    assert {block.language for _, block in found} <= LANGUAGES
    reasons = [(page, block.reason) for page, block in found if block.reason]
    assert len(reasons) <= MOST_NOT_RUN, reasons
    assert all(len(reason.split()) >= 4 for _, reason in reasons), reasons


def run_python(block: Block, names: dict[str, Any]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block.body, names)
    return said.getvalue()


def run_shell(block: Block, soup: Callable[..., Any]) -> None:  # noqa: F811
    for line in commands(block.body):
        words = shlex.split(line)
        if words[0] == "soup":
            said = soup(*words[1:])
            assert said.code == 0, f"{line}\n{said.err}"
        else:
            subprocess.run(["bash", "-ec", line], check=True)


# MLflow takes seconds to open a registry, and torch to translate a model.
SLOW = {"how-to/promote.md", "how-to/share.md"}
PAGES = [pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in GIVEN]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(
    page: str,
    soup: Command,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    GIVEN[page]()
    names: dict[str, Any] = {}
    printed: str | None = None
    found = [block for block in blocks(page) if not block.reason]
    assert found
    for block in found:
        if block.language == "text" and printed is not None:
            assert printed == block.body, page
        elif block.language == "python":
            printed = run_python(block, names)
        elif block.language == "sh":
            run_shell(block, soup)
        elif block.language == "yaml":
            fits(yaml.safe_load(block.body))


def test_a_page_that_is_wrong_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportError):
        run_python(Block("python", "from soup import no_such_name", "", ""), {})
    with pytest.raises(subprocess.CalledProcessError):
        run_shell(Block("sh", "test -e nothing", "", ""), lambda *_: None)
    with pytest.raises(ValueError, match="no_such_key"):
        fits({"sweep": {"no_such_key": 1}})
