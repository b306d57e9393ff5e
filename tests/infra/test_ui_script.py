"""infra/ui.sh: the password that it keeps, and settings that it refuses before any start."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkouts import REPO


def bash(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=cwd,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def auth_string(folder: Path) -> str:
    done = bash(f". {REPO}/infra/prefect/password.sh; auth_string env", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_password_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    made = auth_string(tmp_path)
    assert made.startswith("modelsoup:")
    assert len(made) == len("modelsoup:") + 32
    assert auth_string(tmp_path) != made
    (tmp_path / "env.part").write_text("of a start that was killed")
    (tmp_path / "env.part").chmod(0o644)
    write = f". {REPO}/infra/prefect/password.sh; write_reach env {made} 4201 5001"
    assert bash(write, tmp_path).returncode == 0
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["env"]
    assert auth_string(tmp_path) == made
    told = bash("set -a; . ./env; echo $PREFECT_API_URL $PREFECT_API_AUTH_STRING", tmp_path)
    assert told.stdout.split() == ["http://127.0.0.1:4201/api", made]


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "modelsoup:short",
        "$(touch ran)",
        "modelsoup:$(touch ran)",
        f"modelsoup:{'a' * 31}'",
        f"modelsoup:{'a' * 32};touch ran",
        f"other:{'a' * 32}",
    ],
)
def test_a_file_that_holds_something_else_is_not_run_and_gives_a_new_password(
    tmp_path: Path, kept: str
) -> None:
    (tmp_path / "env").write_text(f"export PREFECT_API_AUTH_STRING={kept}\n")
    made = auth_string(tmp_path)
    assert len(made) == len("modelsoup:") + 32
    assert "aaaa" not in made
    assert [file.name for file in tmp_path.iterdir()] == ["env"]


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "1e3", "5000 ", "x[$(touch ran)]"])
def test_a_port_that_is_none_is_refused_with_its_variable(tmp_path: Path, port: str) -> None:
    shutil.copytree(REPO / "infra", tmp_path / "infra")
    for name in ("MLFLOW_PORT", "PREFECT_PORT"):
        done = bash("infra/ui.sh worker", tmp_path, **{name: port})
        assert done.returncode == 2
        assert done.stderr == f"error: {name} is to be a port from 1 to 65535, not '{port}'\n"
    same = bash("infra/ui.sh", tmp_path, MLFLOW_PORT="4200", PREFECT_PORT="4200")
    assert same.returncode == 2
    assert "MLflow and Prefect cannot both be at port 4200" in same.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["infra"]
