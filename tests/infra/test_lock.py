"""Every file that pip installs is one whose hash is in git."""

import os
import re
import subprocess
import sys
import tomllib
from hashlib import sha256
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checkouts import REPO
from tests.infra.lock import MAIN, OF_IMAGES, pins

PLATFORMS = {
    "Linux, x86-64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux, arm64": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS, arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
}
files = pytest.mark.parametrize("file", [MAIN, *OF_IMAGES], ids=lambda file: file.name)


def applies(marker: Marker | None, platform: str, python: str) -> bool:
    version = {"python_version": python, "python_full_version": f"{python}.9"}
    return marker is None or marker.evaluate({**PLATFORMS[platform], **version})


@files
def test_every_entry_is_one_version_with_hashes_and_no_address(file: Path) -> None:
    assert "://" not in file.read_text()
    assert not [line for line in file.read_text().splitlines() if line.startswith("-")]
    for requirement, hashes in pins(file):
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


@files
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_a_package_is_listed_once_for_each_platform_and_python(
    file: Path, platform: str, python: str
) -> None:
    names = [pin.requirement.name for pin in pins(file)
             if applies(pin.requirement.marker, platform, python)]  # fmt: skip
    assert len(names) == len(set(names))


def test_compiled_packages_have_files_for_more_platforms_than_the_one_that_locked_them() -> None:
    hashes = {pin.requirement.name: len(pin.hashes) for pin in pins()}
    for name in ("torch", "numpy", "pillow", "pyarrow", "pydantic-core"):
        assert hashes[name] >= 12, name  # three platforms by four versions of Python
    for name in ("torchvision", "safetensors", "cryptography", "hf-xet"):
        assert hashes[name] >= 3, name  # of one file for each platform


def test_torch_gets_its_cuda_packages_on_linux_alone() -> None:
    cuda = {pin.requirement.name: pin for pin in pins()
            if re.match("nvidia-|cuda-|triton$", pin.requirement.name)}  # fmt: skip
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13", "triton"} <= set(cuda)
    for pin in cuda.values():
        assert applies(pin.requirement.marker, "Linux, x86-64", "3.11"), pin.requirement
        assert applies(pin.requirement.marker, "Linux, arm64", "3.11"), pin.requirement
        assert not applies(pin.requirement.marker, "macOS, arm64", "3.11"), pin.requirement


UNLOCKED = "try"  # an environment of its own: Gradio needs Pillow 12, which has other pixels


def test_the_lock_covers_every_dependency_and_what_builds_the_package() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    named = project["project"]
    extras = named["optional-dependencies"]
    locked = [wanted for extra, wanted in extras.items() if extra != UNLOCKED]
    wanted = [*named["dependencies"], *chain(*locked)]
    wanted += project["build-system"]["requires"]
    names = {canonicalize_name(Requirement(text).name) for text in wanted}
    assert names - {"modelsoup"} <= {pin.requirement.name for pin in pins()}


@pytest.mark.parametrize("file", OF_IMAGES, ids=lambda file: file.name)
def test_an_image_gets_the_files_of_the_lock(file: Path) -> None:
    known = {(p.requirement.name, str(p.requirement.specifier)): {*p.hashes} for p in pins()}
    for requirement, hashes in pins(file):
        assert known[requirement.name, str(requirement.specifier)] == {*hashes}, requirement


def wheel(folder: Path, name: str) -> str:
    """A package of our own as `name` in `folder`; its SHA-256."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    about = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
             "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             "RECORD": ""}  # fmt: skip
    with ZipFile(file, "w") as content:
        content.writestr(f"{name}.py", "x = 1\n")
        for path, text in about.items():
            content.writestr(f"{name}-1.0.dist-info/{path}", text)
    return sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
def test_every_package_of_a_lock_is_installed_and_none_of_another_hash(tmp_path: Path) -> None:
    names = [f"thing{i}" for i in range(17)]  # more than the eight that are installed at once
    entries = [f"{name}==1.0 \\\n    --hash=sha256:{wheel(tmp_path, name)}" for name in names]
    lock = tmp_path / "lock"
    where = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}

    def install(pinned: list[str], folder: str) -> tuple[int, set[str]]:
        site = tmp_path / folder
        lock.write_text("\n".join(["# a lock", *pinned, ""]))
        done = subprocess.run(
            [REPO / "infra/install.sh", sys.executable, lock],
            env={**os.environ, **where, "PIP_TARGET": str(site)},
            capture_output=True,
            check=False,
        )
        return done.returncode, {file.stem for file in site.glob("*.py")}

    assert install(entries, "all") == (0, {*names})
    for bad in (f" --hash=sha256:{'0' * 64}", ""):
        code, installed = install([*entries[1:], f"thing0==1.0{bad}"], f"without{bad[:2]}")
        assert code != 0
        assert "thing0" not in installed


@pytest.mark.parametrize("file", ["Makefile", "infra/install.sh", ".ci/run", "infra/Dockerfile"])
def test_pip_installs_by_hash_or_without_an_index(file: str) -> None:
    text = (REPO / file).read_text().replace("\\\n", " ")
    installs = re.findall(r"(?:pip install|\$\(PIP\)) (?!--quiet|')(.*)", text)
    assert installs or file == ".ci/run"  # which runs make
    for options in installs:
        assert "--no-index --no-deps" in options or "--require-hashes --no-deps" in options, options
