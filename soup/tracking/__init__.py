"""MLflow and nothing else: runs, ranking, lineage, the registry."""

import os

# Before MLflow's import, which reads it: nothing phones home unless the user asks for it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each of K models

from soup.tracking.folders import folders
from soup.tracking.ingredients import Stored, ingredients
from soup.tracking.machine import watched
from soup.tracking.registry import Version, champion, fetch, move, register, save_pyfunc
from soup.tracking.store import Store, Tracked, TrackingError, default_uri, link

__all__ = [
    "Store",
    "Stored",
    "Tracked",
    "TrackingError",
    "Version",
    "champion",
    "default_uri",
    "fetch",
    "folders",
    "ingredients",
    "link",
    "move",
    "register",
    "save_pyfunc",
    "watched",
]
