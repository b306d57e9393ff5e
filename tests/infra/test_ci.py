""".ci/: the audit, and an environment that tests do not write to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkouts import REPO

SAFE = {"name": "pillow", "version": "13.0.0", "vulns": []}
UNSAFE = {**SAFE, "vulns": [{"id": "PYSEC-0", "fix_versions": ["13.0.1"]}]}
UNKNOWN = {"name": "pillow", "skip_reason": "could not be found"}


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ([SAFE], 0, "audit: 0 known vulnerabilities in 1 packages"),
        ([UNSAFE], 1, "pillow 13.0.0: PYSEC-0, fixed in: 13.0.1"),
        ([UNKNOWN], 0, "audit skipped"),
        (None, 0, "audit skipped"),
    ],
)
def test_an_audit_fails_for_a_vulnerability_and_never_for_a_missing_network(
    tmp_path: Path, answer: list[dict[str, Any]] | None, code: int, told: str
) -> None:
    """With a stub in the place of pip-audit."""
    said = "raise SystemExit('no route')"
    if answer is not None:
        said = f"print({json.dumps({'dependencies': answer})!r}); raise SystemExit(1)"
    (tmp_path / "pip_audit.py").write_text(said)
    done = subprocess.run(
        [sys.executable, str(REPO / ".ci/audit.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert told in done.stdout


def state(folder: Path, command: str, expected: int) -> str:
    done = subprocess.run(
        [str(REPO / ".ci/environment.sh"), command, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_file_that_a_test_changes_or_adds_in_the_environment_is_named(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "lib").mkdir(parents=True)
    changed = venv / "lib" / "a.py"
    changed.write_text("x = 1\n")
    state(venv, "record", 0)
    (venv / "lib" / "__pycache__").mkdir()
    (venv / "lib" / "__pycache__" / "a.cpython-311.pyc").write_text("written at the first import")
    state(venv, "check", 0)
    times = changed.stat()
    changed.write_text("x = 2\n")
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had happened
    assert "lib/a.py" in state(venv, "check", 1)
    state(venv, "record", 0)
    (venv / "lib" / "b.pth").write_text("")
    assert "lib/b.pth" in state(venv, "check", 1)


def test_an_environment_without_a_record_is_not_one_to_keep(tmp_path: Path) -> None:
    state(tmp_path, "check", 1)
