"""The tutorial, followed word by word in a fresh clone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import checkouts
from tests.checkouts import REPO
from tests.docs.blocks import blocks, fits
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow


def clone(folder: Path) -> Path:
    """The files of this checkout, as a repository of their own."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=REPO, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name)
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "start"]):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    return folder


def installed(folder: Path) -> None:
    """An environment that `make setup` finds finished: that of the tests."""
    venv = folder / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    for name in (".locked", ".installed"):
        (venv / name).touch()


def script() -> str:
    """All blocks of the page, in order: files are written, commands run."""
    parts = []
    for block in blocks("tutorial.md"):
        assert not block.reason
        if block.language == "sh":
            parts.append(block.body)
        elif block.title:
            parts.append(f"cat > {block.title} <<'END'\n{block.body}END\n")
        else:
            fits(yaml.safe_load(block.body))
    return "\n".join(parts)


def test_the_tutorial_ends_with_a_soup_of_images_of_one_s_own(tmp_path: Path) -> None:
    root = clone(tmp_path / "modelsoup")
    installed(root)
    done = subprocess.run(
        ["bash", "-exc", script()],
        cwd=root,
        env=checkouts.environment(root),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for experiment in ("tutorial", "mine"):
        out = root / "out" / experiment
        assert (out / "soup" / "model.safetensors").is_file()
        assert "</html>" in (out / "report.html").read_text()
    assert "uniform" in done.stdout + done.stderr
    assert "-stripes" in done.stdout + done.stderr
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True
    )
    assert changed.stdout.split() == ["??", "configs/mine.yaml"]  # nothing else that git sees
