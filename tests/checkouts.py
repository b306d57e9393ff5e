"""A checkout of the project around a tiny image set: what a user's folder looks like."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests import gates, homes, worlds
from tests.waiting import PATIENCE

REPO = Path(__file__).resolve().parents[1]
SERVER = {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}


def parameters(root: Path, **changes: Any) -> dict[str, Any]:
    """A small sweep; `changes` replace whole top-level parts."""
    plain: dict[str, Any] = {
        "experiment": "tiny",
        "data": {
            "root": "data",
            "heldout": {"per_class": 10},
            "shifts": {"dark": {"folder": "dark"}},
        },
        "base": {
            "model": worlds.MODEL,
            "kwargs": worlds.KWARGS,
            "weights": str(root / "base.safetensors"),
            "image_size": 20,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
        "sweep": {
            "runs": 3,
            "batch_size": 16,
            "space": {
                "lr": {"min": 1e-3, "max": 1e-2, "scale": "log"},
                "weight_decay": [0.01],
                "epochs": [2],
            },
        },
        "probe": {"penalty": 0.01},
        "soup": {"recipe": "greedy"},
        "evaluate": {"bootstrap": 100},
        "register": {"model": "tiny-soup"},
        "compute": {"slots": 2, "checkpoint_seconds": 0.01},
    }
    return plain | changes


def make(root: Path, **changes: Any) -> Path:
    """A checkout with images, a base model, a git and a DVC repository."""
    root.mkdir(parents=True, exist_ok=True)
    worlds.world(root / "data", train=40, test=12)
    worlds.draw(root / "data" / "dark", {"blue": 8, "red": 8}, first=900)
    worlds.put(root / "base", worlds.tiny())
    (root / "base" / "model.safetensors").rename(root / "base.safetensors")
    write(root, **changes)
    for name in ("soup", "flows"):  # with what is compiled: a command need not do that again
        shutil.copytree(REPO / name, root / name)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(REPO / name, root)
    ignored = ("/out", ".cache", "mlruns", "mlflow.db", ".prefect", "/data", "__pycache__")
    (root / ".gitignore").write_text("".join(f"{name}\n" for name in ignored))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        ["git", "add", "."],
        [*git, "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(command, cwd=root, check=True, env=environment(root))
    return root


def write(root: Path, **changes: Any) -> None:
    """Write params.yaml."""
    (root / "params.yaml").write_text(yaml.safe_dump(parameters(root, **changes)))


def environment(root: Path, **more: str) -> dict[str, str]:
    """What a shell in the checkout has: nothing of the servers that this machine may know of."""
    kept = {key: value for key, value in os.environ.items() if key not in SERVER}
    return kept | {
        "MODELSOUP_ROOT": str(root),
        "PREFECT_HOME": str(homes.furnish(root / ".prefect")),
        "PYTHONPATH": f"{root}:{gates.BUILT_IN}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "3",  # as `make deploy` sets it
        "COLUMNS": "200",
        **more,
    }


def run(root: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout; `python` is the one that runs the tests."""
    first = [sys.executable] if command[0] == "python" else [command[0]]
    return subprocess.run(
        [*first, *command[1:]],
        cwd=root,
        env=environment(root, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def pipeline(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline by its command."""
    return run(root, "python", "-m", "flows.pipeline", *arguments, **more)
