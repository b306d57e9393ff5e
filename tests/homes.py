"""Databases of Prefect and MLflow with their tables made, which takes half a minute.

    python -m tests.homes

makes them, for tests to begin with copies of; else the first test does that needs one.
MODELSOUP_TEST_DATABASES: the folder where they are kept, instead of the one for temporary files.
"""

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
        shutil.copy(_template("prefect"), home / NAME)
    return home


def tracking(folder: Path) -> str:
    """Put a new database of MLflow where there is none; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    if not database.exists():
        shutil.copy(_template("mlflow"), database)
    return f"sqlite:///{database}"


def _template(program: str) -> Path:
    """A database that is made once on this machine."""
    name = f"modelsoup-{os.getuid()}-{program}-{version(program)}.db"
    made = Path(os.environ.get("MODELSOUP_TEST_DATABASES") or tempfile.gettempdir()) / name
    if made.exists():  # no lock is written where others have made it
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{made}.lock"), tempfile.TemporaryDirectory() as folder:
        if not made.exists():
            new = Path(folder) / NAME
            PROGRAMS[program](new)
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


PROGRAMS: dict[str, Callable[[Path], None]] = {"prefect": _prefect, "mlflow": _mlflow}

if __name__ == "__main__":
    for name in PROGRAMS:
        _template(name)
