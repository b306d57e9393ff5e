"""What is imported is declared, and what is missing is named."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from soup.errors import EXTRAS, missing_extra
from tests.checkouts import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
OWN = {"soup", "flows"}
providers_of = cache(packages_distributions)  # it reads the files of every distribution


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements: Iterable[str]) -> set[str]:
    return {normalized(Requirement(text).name) for text in requirements}


@cache
def declared() -> set[str]:
    """The distributions that the package or one of its extras, bar that of tests, asks for."""
    extras = PROJECT["optional-dependencies"]
    asked = [text for extra, wanted in extras.items() if extra != "dev" for text in wanted]
    return names_of([*PROJECT["dependencies"], *asked])


@cache
def imported(source: str) -> set[str]:
    """The top-level modules that a source imports, anywhere, other than Python's and its own."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return {name.partition(".")[0] for name in modules} - {*sys.stdlib_module_names} - OWN


def undeclared(source: str) -> set[str]:
    providers = providers_of()
    known = declared()
    return {
        module
        for module in imported(source)
        if not {normalized(name) for name in providers.get(module, [module])} & known
    }


@pytest.mark.parametrize("package", sorted(OWN))
def test_every_distribution_that_is_imported_is_declared(package: str) -> None:
    wrong = {
        str(path.relative_to(REPO)): modules
        for path in (REPO / package).rglob("*.py")
        if (modules := undeclared(path.read_text()))
    }
    assert wrong == {}


def test_the_test_above_can_fail() -> None:
    assert undeclared("import torch, json\ndef f():\n    from pytest import raises\n") == {"pytest"}


def test_a_module_that_is_missing_is_named_with_an_extra_that_declares_it() -> None:
    providers = providers_of()
    base = names_of(PROJECT["dependencies"])
    modules = set().union(*(imported(p.read_text()) for p in (REPO / "soup").rglob("*.py")))
    # A module that is not installed here is taken for one of a distribution of its name.
    providers = {module: [module] for module in modules} | providers
    optional = {m for m in modules if not {normalized(n) for n in providers[m]} & base}
    for module in optional | set().union(*EXTRAS.values()):
        remedy = missing_extra(ModuleNotFoundError(name=f"{module}.part"))
        assert remedy is not None, module
        [extra] = re.findall(r"pip install '\.\[(\w+)\]' in the checkout of modelsoup", remedy)
        wanted = names_of(PROJECT["optional-dependencies"][extra])
        assert {normalized(n) for n in providers[module]} & wanted, module
    assert missing_extra(ModuleNotFoundError(name="pytest")) is None
