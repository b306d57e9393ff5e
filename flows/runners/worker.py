"""What runs on a worker: one fine-tune of a sweep that is steered from elsewhere."""

import multiprocessing
import os
import socket
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from flows.runners.event_log import Writer
from flows.runners.job_file import Order
from soup.config.params import Compute, parse
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.stage_record import stage
from soup.pipeline.sweep.devices import groups, locked_gpus
from soup.pipeline.sweep.sweep import Sweep

_own_mlflow = os.environ.get("MLFLOW_TRACKING_URI")
_loaded: list[str] = []  # digest of the source files that this process imported


class Elsewhere(BadInput, RuntimeError):
    """This host is not set up as the one that steers the sweep; the message says what differs."""


def problem(root: str, folder: str) -> str:
    """Why this process cannot run a fine-tune of a sweep; '' if it can.

    Args:
        root: the project folder.
        folder: of the order, relative to it.
    """
    try:
        _opened(root, folder)
    except (BadInput, OSError) as error:
        return f"{socket.gethostname()}: {error}"
    return ""


def carry_out(root: str, folder: str, journal: str, name: str, until: float) -> str:
    """Run a fine-tune, all or a share of it, and write to the journal what came of it.

    Returns:
        Why there is not even a journal; '' if there is one.
    """
    # A daemon may have no children, but a fine-tune is one; it ends with its parent all the same.
    multiprocessing.current_process().daemon = False
    here = Path(root) / folder
    if not (here / "order.json").is_file():
        return (
            f"{socket.gethostname()} does not see {here}, or not what others write there; "
            "all hosts must share the project folder"
        )
    with Writer(here / journal) as watcher:
        reason = problem(root, folder)
        if reason:
            watcher.outcome(Elsewhere(reason))
            return ""
        sweep, compute = _opened(root, folder)
        try:
            with ExitStack() as held:
                devices = held.enter_context(locked_gpus(compute))
                watcher.outcome(
                    sweep.run(name, devices, watcher, held.close)
                    if until == 1
                    else sweep.train_until(name, devices, watcher, until)
                )
        except Exception as error:
            watcher.outcome(error)
    return ""


@lru_cache(maxsize=1)  # a worker runs many of one sweep
def _opened(root: str, folder: str) -> tuple[Sweep, Compute]:
    order = Order.read(Path(root) / folder)
    if order.mlflow.startswith("sqlite") and order.host != socket.gethostname():
        raise Elsewhere(
            f"MLflow's store is a file of {order.host}, {order.mlflow}; start an MLflow server "
            "that all hosts reach, and set MLFLOW_TRACKING_URI to it"
        )
    os.environ["MLFLOW_TRACKING_URI"] = _own_mlflow or order.mlflow
    params = parse(order.params)
    code = stage("finetune", params, Path(root)).code
    _loaded[:] = _loaded or [code]
    if code != order.code:
        raise Elsewhere(
            f"the source files in {root} are not those of {order.host}; "
            "let both be at the same commit"
        )
    if code != _loaded[0]:
        raise Elsewhere("the source files changed since this worker started; start it again")
    project = Project(Path(root), params, order.tags)
    project.store().get([order.sweep])
    compute = params.compute
    share = groups(compute.model_copy(update={"slots": None}), runs=params.sweep.runs)
    sweep = Sweep.open(project, code, order.threads or share.threads)
    if sweep.run_id != order.sweep:
        raise Elsewhere(
            f"the split or the initialisation in {root}/out/{params.experiment} is not that of "
            f"{order.host}; all hosts must share the project folder"
        )
    return sweep, compute
