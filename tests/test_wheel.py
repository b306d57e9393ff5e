"""The wheel in an environment with nothing but its own dependencies: the library, the command."""

import subprocess
import sys
import tarfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, PathDistribution, distribution, version
from pathlib import Path
from venv import EnvBuilder
from zipfile import ZipFile

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from soup.recipes import RECIPES
from soup.weights.checkpoint import Checkpoint, save
from tests.checkouts import REPO

pytestmark = pytest.mark.slow
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--quiet", "--no-index", "--no-deps"]


def done(command: list[str], folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout, without its `PYTHONPATH`."""
    result = subprocess.run(
        command,
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result


def needed(requirements: Iterable[str]) -> set[str]:
    """Distributions that requirements bring here, extras left out."""
    seen: set[str] = set()
    waiting = [*requirements]
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonicalize_name(wanted.name)
        if name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += distribution(name).requires or []
        except PackageNotFoundError:  # torch names packages for other kinds of machines
            continue
        seen.add(name)
    return seen


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], REPO)
    return folder


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel and links to what the wheel asks for."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    EnvBuilder().create(folder)
    [wheel] = built.glob("*.whl")
    done([*PIP, "--python", str(folder), "install", *OFFLINE, str(wheel)], folder)
    [site] = folder.glob("lib/*/site-packages")
    [about] = site.glob("modelsoup-*.dist-info")
    for name in needed(PathDistribution(about).requires or []):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            link = site / top
            if not link.exists() and not top.endswith(".pth"):
                link.symlink_to(Path(str(found.locate_file(top))).resolve())
    return folder / "bin"


def test_what_the_wheel_asks_for_fits_together(bare: Path) -> None:
    said = done([*PIP, "--python", str(bare.parent), "check"], bare.parent)
    assert said.stdout == "No broken requirements found.\n"


LIBRARY = """
import importlib.util
import sys

absent = ("numpy", "scipy", "pandas", "timm", "torchvision", "mlflow", "prefect", "yaml")
assert [name for name in absent if importlib.util.find_spec(name)] == []

import torch
import soup

paths = []
for value in (1.0, 3.0):
    paths.append(f"{value}.safetensors")
    soup.save({"w": torch.full((2, 3), value)}, paths[-1])
pool = [soup.Checkpoint(path) for path in paths]
soup.save(soup.average(pool), "soup.safetensors")
assert torch.equal(soup.Checkpoint("soup.safetensors")["w"], torch.full((2, 3), 2.0))

def judge(weights, at_most=None):
    return abs(float(weights["w"].mean()) - 2)

errors = [judge(weights) for weights in pool]
best = soup.greedy([soup.Ingredient(p, c, e) for p, c, e in zip(paths, pool, errors)], judge)
assert len(best.kept) == 2, best
assert not {"typer", "rich"} & {*sys.modules}  # what averages, imports torch and safetensors alone
try:
    soup.ErrorJudge
except ImportError as error:
    print(error)
"""


def test_the_library_averages_and_says_what_the_rest_needs(bare: Path, tmp_path: Path) -> None:
    said = done([str(bare / "python"), "-W", "ignore", "-c", LIBRARY], tmp_path)
    assert said.stdout == (
        "soup.ErrorJudge needs numpy, which is not installed: "
        "pip install '.[vision]' in the checkout of modelsoup\n"
    )


@pytest.mark.parametrize("command", ["soup", "modelsoup"])
def test_the_command_cooks_two_files(bare: Path, tmp_path: Path, command: str) -> None:
    for value, name in ((1.0, "a"), (3.0, "b")):
        save({"w": torch.full((2, 3), value)}, tmp_path / f"{name}.safetensors")
    verb = [str(bare / command), "cook", "a.safetensors", "b.safetensors", "-o", "out.safetensors"]
    said = done(verb, tmp_path)
    assert "uniform of 2 models" in said.stderr
    soup = Checkpoint(str(tmp_path / "out.safetensors"))
    assert torch.equal(soup["w"], torch.full((2, 3), 2.0))
    assert "UserWarning" not in said.stderr  # torch's, of NumPy


def test_the_command_tells_its_version_help_and_recipes(bare: Path, tmp_path: Path) -> None:
    said = done([str(bare / "modelsoup"), "--version"], tmp_path)
    assert said.stdout == f"soup {version('modelsoup')}\n"  # a wheel is in no checkout
    assert "cook" in done([str(bare / "soup"), "--help"], tmp_path).stdout
    listed = done([str(bare / "soup"), "recipes"], tmp_path)
    assert all(name in listed.stderr for name in RECIPES)


def test_the_command_names_the_extra_that_models_and_images_need(
    bare: Path, tmp_path: Path
) -> None:
    said = done([str(bare / "soup"), "predict", "x", "y"], tmp_path, code=2)
    assert said.stderr == (
        "error: this needs numpy, which is not installed: "
        "pip install '.[vision]' in the checkout of modelsoup\n"
    )


def test_the_source_distribution_holds_what_builds_the_same_wheel(
    built: Path, tmp_path: Path
) -> None:
    [packed], [wheel] = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(packed) as file:
        file.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    done([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], source)
    [again] = tmp_path.glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()
    with ZipFile(wheel) as content:
        files = {name.partition("/")[0] for name in content.namelist()}
    assert {name for name in files if not name.endswith(".dist-info")} == {"soup"}
