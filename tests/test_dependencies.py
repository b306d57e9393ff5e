"""What is imported is declared, and averaging needs no more than torch and safetensors."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

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


def declared() -> set[str]:
    """The distributions that the package or one of its extras, bar that of tests, asks for."""
    extras = PROJECT["optional-dependencies"]
    asked = [text for extra, wanted in extras.items() if extra != "dev" for text in wanted]
    return names_of([*PROJECT["dependencies"], *asked])


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
        if not {normalized(name) for name in providers.get(module, [])} & known
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
    optional = {m for m in modules if not {normalized(n) for n in providers[m]} & base}
    for module in optional | set().union(*EXTRAS.values()):
        remedy = missing_extra(ModuleNotFoundError(name=f"{module}.part"))
        assert remedy is not None, module
        [extra] = re.findall(r"pip install 'modelsoup\[(\w+)\]'", remedy)
        wanted = names_of(PROJECT["optional-dependencies"][extra])
        assert {normalized(n) for n in providers[module]} & wanted, module
    assert missing_extra(ModuleNotFoundError(name="pytest")) is None


def closure(names: Iterable[str]) -> set[str]:
    """Distributions with all that they need here, extras left out."""
    seen: set[str] = set()
    waiting = [*names]
    while waiting:
        name = normalized(waiting.pop())
        if name in seen:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # torch names packages for other kinds of machines
            continue
        seen.add(name)
        requirements = [Requirement(text) for text in needs]
        waiting += [
            r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    return seen


def environment(folder: Path) -> Path:
    """A folder with nothing but soup and what its own dependencies bring, as links."""
    folder.mkdir()
    (folder / "soup").symlink_to(REPO / "soup")
    for name in closure(names_of(PROJECT["dependencies"])):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            link = folder / top
            if not link.exists() and not top.endswith(".pth"):
                link.symlink_to(Path(str(found.locate_file(top))).resolve())
    return folder


BARE = """
import sys
sys.path.append(sys.argv[1])
import importlib.util

absent = ("numpy", "scipy", "pandas", "typer", "rich", "timm", "torchvision", "mlflow", "prefect")
assert [name for name in absent if importlib.util.find_spec(name)] == []

import torch
import soup

paths = []
for value in (1.0, 3.0):
    paths.append(f"{sys.argv[2]}/{value}.safetensors")
    soup.save({"w": torch.full((2, 3), value)}, paths[-1])
pool = [soup.Checkpoint(path) for path in paths]
soup.save(soup.average(pool), f"{sys.argv[2]}/soup.safetensors")
assert torch.equal(soup.Checkpoint(f"{sys.argv[2]}/soup.safetensors")["w"], torch.full((2, 3), 2.0))

def judge(weights, at_most=None):
    return abs(float(weights["w"].mean()) - 2)

errors = [judge(weights) for weights in pool]
best = soup.greedy([soup.Ingredient(p, c, e) for p, c, e in zip(paths, pool, errors)], judge)
assert len(best.kept) == 2, best
try:
    soup.ErrorJudge
except ImportError as error:
    print(error)
from soup.cli import main
main()
"""


@pytest.mark.slow
def test_a_bare_environment_averages_and_says_what_the_rest_needs(tmp_path: Path) -> None:
    site = environment(tmp_path / "site")
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", BARE, str(site), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == (
        "soup.ErrorJudge needs numpy, which is not installed: pip install 'modelsoup[vision]'\n"
    )
    assert done.stderr == (
        "error: this needs typer, which is not installed: pip install 'modelsoup[cli]'\n"
    )
    assert done.returncode == 2
