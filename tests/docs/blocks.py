"""The fenced blocks of a page, in order, and how they are carried out."""

import re
import textwrap
from typing import Any, NamedTuple

import yaml

from soup.config.params import Params
from tests.checkouts import REPO

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<body>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: sh and python are run, yaml is written to the file of its title, text is what the
            block before it prints.
        title: the file's name, '' if it has none.
        reason: why it cannot be run here, '' if it can.
    """

    language: str
    body: str
    title: str
    reason: str


def blocks(page: str) -> list[Block]:
    """The blocks of docs/`page`."""
    text = (REPO / "docs" / page).read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        body = textwrap.dedent(match["body"])
        found.append(
            Block(match["language"], body, title[1] if title else "", match["reason"] or "")
        )
    assert len(found) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE)), page
    return found


def commands(body: str) -> list[str]:
    """The commands of a block for the shell; a backslash joins lines."""
    lines = body.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def fits(given: dict[str, Any]) -> None:
    """A part of a parameter file is one that a whole file may have."""
    whole = yaml.safe_load((REPO / "configs" / "imagefolder.yaml").read_text())
    for part, values in given.items():
        whole[part] = {**whole.get(part, {}), **values}
    Params.model_validate(whole)
