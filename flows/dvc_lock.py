"""The end of a run for DVC: a new result is locked, another machine's bits of a locked one are not.

The last bits of a sum depend on the processor, and a thousand training steps make other digits of
them. So the same inputs give another result on another kind of machine. `dvc.lock` in git holds one
such result; a run that has the same inputs leaves it as it is, and git has nothing to commit.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

METRICS = "dvc-metrics.json"  # the metrics of the result in dvc.lock, in git for all to read


def lock(root: Path, metrics: Path) -> str:
    """Lock the result, unless git holds a locked one of the same inputs.

    Args:
        root: the checkout.
        metrics: the metrics file of the result.

    Returns:
        What the user should know; '' if nothing.
    """
    status = _run(root, sys.executable, "-m", "dvc", "status", "--json")
    if status.returncode:
        return f"dvc status failed: {status.stderr.strip()}"
    changes = json.loads(status.stdout)
    if _locked_in_git(root) and not any(map(_has_new_inputs, changes.values())):
        _keep_in_cache(root)
        same = (root / METRICS).is_file() and (root / METRICS).read_bytes() == metrics.read_bytes()
        return "" if same or not changes else _KEPT
    if changes:
        done = _run(root, sys.executable, "-m", "dvc", "commit", "--force", "--quiet")
        if done.returncode:
            return f"dvc commit failed: {done.stderr.strip()}"
        shutil.copy(metrics, root / METRICS)
    return ""


_KEPT = (
    "dvc.lock keeps the result that git has of the same inputs: other processors give other last "
    "digits. To lock yours: dvc commit --force"
)


def _has_new_inputs(changes: list[str | dict[str, dict[str, str]]]) -> bool:
    """Whether a stage has other code, parameters or command, by `dvc status --json`."""
    inputs = [change["changed deps"] for change in changes if "changed deps" in change]  # type: ignore[index]
    return any(isinstance(change, str) for change in changes) or any(
        not path.startswith("out/") for deps in inputs for path in deps
    )


def _locked_in_git(root: Path) -> bool:
    """Whether dvc.lock is as it was committed."""
    committed = _run(root, "git", "cat-file", "-e", "HEAD:./dvc.lock").returncode == 0
    return (
        committed and _run(root, "git", "diff", "--quiet", "HEAD", "--", "dvc.lock").returncode == 0
    )


def _keep_in_cache(root: Path) -> None:
    """Put the locked metrics where `dvc metrics diff` reads them."""
    source = root / METRICS
    if source.is_file():
        md5 = hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest()
        target = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _run(root: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
