"""Databases of Prefect and MLflow with their tables made, which takes seconds each time."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

NAME = "prefect.db"


def furnish(home: Path) -> Path:
    """Put a new database of Prefect where there is none."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / NAME).exists():
        shutil.copy(_template("prefect", _prefect), home / NAME)
    return home


def tracking(folder: Path) -> str:
    """Put a new database of MLflow where there is none; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    if not database.exists():
        shutil.copy(_template("mlflow", _mlflow), database)
    return f"sqlite:///{database}"


def _template(program: str, make: Callable[[Path], None]) -> Path:
    """A database that is made once on this machine."""
    name = f"modelsoup-{os.getuid()}-{program}-{version(program)}.db"
    made = Path(tempfile.gettempdir()) / name
    with FileLock(f"{made}.lock"), tempfile.TemporaryDirectory() as folder:
        if not made.exists():
            new = Path(folder) / NAME
            make(new)
            shutil.copy(new, f"{made}.new")
            Path(f"{made}.new").replace(made)
    return made


def _prefect(database: Path) -> None:
    _run("prefect", "server", "database", "upgrade", "-y", PREFECT_HOME=str(database.parent))


def _mlflow(database: Path) -> None:
    # Nothing of it is in the database, not even the default experiment, whose place is a folder.
    _run("mlflow", "db", "upgrade", f"sqlite:///{database}")


def _run(*command: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"PREFECT_API_URL": ""} | environment,
        check=True,
        capture_output=True,
    )
