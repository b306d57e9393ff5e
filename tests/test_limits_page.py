"""docs/limits.md and docs/trust.md say what is so: each limit its value, each door its tests."""

import ast
import importlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from soup import limits
from soup.config.params import Params
from tests.checkouts import REPO

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)(?: (\w+))?")


class Row(NamedTuple):
    what: str
    value: str
    name: str
    happens: str


def tables(page: str, head: str) -> Iterator[list[str]]:
    """The cells of each line of the page's tables whose first column has this head."""
    columns: list[str] = []
    for line in (REPO / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = cells
        elif columns[0] == head and not line.startswith("|--"):
            assert len(cells) == len(columns), line
            yield cells


ROWS = [Row(*cells) for cells in tables("docs/limits.md", "limit")]


def size(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(len(value) if hasattr(value, "__len__") else value)


def in_code(name: str) -> float | None:
    """The value of a dotted name: in a module, or the default of a parameter; else None."""
    first, *keys = name.split(".")
    if first in ("soup", "flows"):
        module, _, attribute = name.rpartition(".")
        return size(getattr(importlib.import_module(module), attribute))
    fields: Any = Params.model_fields
    if first not in fields:
        return None
    field = fields[first]
    for key in keys:
        field = field.annotation.model_fields[key]
    return size(field.default)


def problem(row: Row) -> str:
    """What of a row is not so; '' if all is."""
    written = NUMBER.match(row.value)
    if written is None:
        return "the value is no number"
    value = float(written[1].replace(",", "")) * UNITS.get(written[2] or "", 1)
    names = re.findall(r"`([^`]+)`", row.name)
    if not names:
        return "names nothing in the code"
    if (REPO / names[0]).is_file():
        text = (REPO / names[0]).read_text()
        missing = [name for name in names[1:] if name not in text]
        said = {
            number.replace("_", "") for name in names[1:] for number in re.findall(r"[\d_.]+", name)
        }
        if missing or len(names) == 1:
            return f"{names[0]} does not say {missing}"
        return "" if written[1].replace(",", "") in said else f"{names[1:]} is another value"
    found = in_code(names[0])
    if found is None:
        return f"{names[0]} is neither a file, nor a name of ours, nor a parameter"
    return "" if found == value else f"{names[0]} is {found:g}"


@pytest.mark.parametrize("row", ROWS, ids=[row.name.split("`")[1] for row in ROWS])
def test_a_limit_of_the_page_has_that_value_in_the_code(row: Row) -> None:
    assert problem(row) == ""
    assert row.what
    assert row.happens


def test_the_test_above_can_fail() -> None:
    depth = Row("x", "64", "`soup.limits.JSON_DEPTH`", "refused")
    assert problem(depth) == ""
    assert "is 64" in problem(depth._replace(value="65"))
    assert "is neither" in problem(depth._replace(name="`nothing.here`"))
    assert "does not say" in problem(depth._replace(name="`Makefile`: `no such text 64`"))
    assert "no number" in problem(depth._replace(value="many"))
    assert problem(Row("x", "8", "`compute.cache_gib`", "y")) == ""
    with pytest.raises(AttributeError):
        problem(depth._replace(name="`soup.files.NO_SUCH_LIMIT`"))


def constants(path: Path) -> set[str]:
    targets = [node.targets[0] for node in ast.parse(path.read_text()).body
               if isinstance(node, ast.Assign)]  # fmt: skip
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_every_limit_on_files_and_models_of_others_is_on_the_page() -> None:
    page = (REPO / "docs/limits.md").read_text()
    names = constants(Path(limits.__file__)) - {"KIB", "MIB", "GIB"}
    assert names
    assert {name for name in names if f"`soup.limits.{name}`" not in page} == set()


TRUST = list(tables("docs/trust.md", "door"))


def test_every_door_names_tests_that_there_are() -> None:
    for door, tried, now, named in TRUST:
        assert door
        assert tried
        assert now
        tests = re.findall(r"`([^`]+)`", named)
        assert tests, door
        for test in tests:
            path, *functions = test.split("::")
            assert (REPO / path).is_file(), test
            source = (REPO / path).read_text()
            for function in functions:
                assert f"def {function}(" in source, test
