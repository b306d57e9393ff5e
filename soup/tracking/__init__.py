"""MLflow and nothing else: runs, ranking, lineage, the registry."""

import os

# Before MLflow's import, which reads it: nothing phones home unless the user asks for it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it would break our own

from soup.tracking.audit import Event, history, rolled_back
from soup.tracking.copying import copy
from soup.tracking.data_set import DataSet
from soup.tracking.experiment import default_uri, link, require_experiment
from soup.tracking.ingredients import Stored, ingredients
from soup.tracking.model_files import WEIGHTS_DIGEST, folders, save_pyfunc
from soup.tracking.open_runs import end_open_runs, end_with, runs_end_with_block
from soup.tracking.promotion import promote, repair, roll_back
from soup.tracking.registered_files import fetch, register, registered_files
from soup.tracking.registry import (
    SIGNATURE,
    Registry,
    Version,
    aliases,
    annotate,
    champion,
    model_of,
    registry_at,
    version,
    versions,
)
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store
from soup.tracking.system_metrics import log_system_metrics
from soup.tracking.tracked import Tracked
