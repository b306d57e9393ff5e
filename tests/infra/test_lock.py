"""Every file that pip installs is one whose hash is in git."""

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


@pytest.mark.slow
def test_a_file_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    """What `make` and the images run, on a wheel of our own whose content has changed."""
    wheel = tmp_path / "pinned_thing-1.0-py3-none-any.whl"
    about = {"METADATA": "Metadata-Version: 2.1\nName: pinned-thing\nVersion: 1.0\n",
             "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             "RECORD": ""}  # fmt: skip
    with ZipFile(wheel, "w") as content:
        content.writestr("thing.py", "x = 1\n")
        for name, text in about.items():
            content.writestr(f"pinned_thing-1.0.dist-info/{name}", text)
    lock = tmp_path / "lock"
    makefile = (REPO / "Makefile").read_text()
    [options] = re.findall(r"\$\(PIP\) (--require-hashes .*) -r requirements.lock", makefile)
    site = tmp_path / "site"

    def install(pinned: str) -> int:
        lock.write_text(f"pinned-thing==1.0{pinned}\n")
        where = ["--no-index", "--find-links", str(tmp_path), "--target", str(site)]
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options.split(),
            *where,
            "-r",
            str(lock),
        ]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert install(f" --hash=sha256:{'0' * 64}") != 0
    assert install("") != 0
    assert not (site / "thing.py").exists()
    assert install(f" --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}") == 0
    assert (site / "thing.py").exists()


@pytest.mark.parametrize("file", ["Makefile", ".ci/run", "infra/Dockerfile"])
def test_pip_installs_by_hash_or_without_an_index(file: str) -> None:
    text = (REPO / file).read_text().replace("\\\n", " ")
    installs = re.findall(r"(?:pip install|\$\(PIP\)) (?!--quiet)(.*)", text)
    assert installs or file == ".ci/run"  # which runs make
    for options in installs:
        assert "--no-index --no-deps" in options or "--require-hashes --no-deps" in options, options
