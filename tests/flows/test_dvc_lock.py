"""dvc.lock after a run: git has nothing to commit where only the bits of a result differ."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.dvc_lock import METRICS, lock
from tests.checkouts import REPO

DVC = {
    "a": {
        "cmd": "false",
        "params": ["a"],
        "deps": ["a.py"],
        "outs": [{"out/a": {"persist": True}}],
    },
    "b": {"cmd": "false", "deps": ["out/a"], "metrics": [{"out/metrics.json": {"persist": True}}]},
}
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in a git and DVC repository of two stages."""

    def command(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": DVC}))
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "a.py").write_text("first\n")
    (tmp_path / ".gitignore").write_text("/out\n")
    for words in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.name", "t"],
        ["git", "config", "user.email", "t@example.com"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
    ):
        command(*words)
    return command


def finished(root: Path, score: float, report: str = "") -> str:
    """What locking a result says."""
    (root / "out").mkdir(exist_ok=True)
    (root / "out" / "a").write_text(f"{score}\n{report}")
    (root / "out" / "metrics.json").write_text(json.dumps({"test": {"soup": score}}))
    return lock(root, root / "out" / "metrics.json")


@pytest.mark.slow
def test_a_result_is_locked_once_for_the_same_inputs_and_again_for_others(
    run: Run, tmp_path: Path
) -> None:
    def changed() -> list[str]:
        return [line[3:] for line in run("git", "status", "--porcelain").splitlines()]

    def metrics_diff() -> dict[str, float]:
        shown = json.loads(run(sys.executable, "-m", "dvc", "metrics", "diff", "--json"))
        return shown["out/metrics.json"]["test.soup"]

    assert finished(tmp_path, 0.5) == ""
    assert json.loads((tmp_path / METRICS).read_text()) == {"test": {"soup": 0.5}}
    run("git", "add", ".")
    run("git", "commit", "--quiet", "-m", "locked")

    shutil.rmtree(tmp_path / "out")  # as in a clone, at first on the same kind of machine
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert finished(tmp_path, 0.5, "made at another time") == ""
    assert changed() == []
    assert "dvc.lock keeps the result that git has" in finished(tmp_path, 0.6)
    assert changed() == []
    assert metrics_diff() == {"old": 0.5, "new": 0.6, "diff": pytest.approx(0.1)}

    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert finished(tmp_path, 0.7) == ""
    assert changed() == [METRICS, "dvc.lock", "params.yaml"]
    assert metrics_diff()["old"] == 0.5
    assert run(sys.executable, "-m", "dvc", "status", "--json").strip() == "{}"

    run("git", "commit", "--quiet", "-am", "again")
    (tmp_path / "a.py").write_text("second\n")
    assert finished(tmp_path, 0.7) == ""
    assert changed() == ["a.py", "dvc.lock"]


def test_the_metrics_in_git_are_those_of_the_locked_result() -> None:
    stages = yaml.safe_load((REPO / "dvc.lock").read_text())["stages"]
    locked = {out["path"]: out["md5"] for out in stages["evaluate"]["outs"]}
    digest = hashlib.md5((REPO / METRICS).read_bytes(), usedforsecurity=False).hexdigest()
    assert locked["out/shapes/metrics.json"] == digest
