"""What runs on a worker: one fine-tune of a sweep that is steered from another process."""

import multiprocessing
import os
import socket
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from flows.runners import job_file
from flows.runners.event_log import Writer
from flows.runners.job_file import JobFile
from soup.config.compute import Compute
from soup.config.params import parse
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.stage_record import stage
from soup.pipeline.sweep.devices import groups, locked_gpus
from soup.pipeline.sweep.opening import open_sweep
from soup.pipeline.sweep.sweep import Sweep

_hosts_mlflow = os.environ.get("MLFLOW_TRACKING_URI")  # what `_opened` sets is not the host's
_loaded_code: list[str] = []  # digest of the source files that this process imported


class HostDiffers(BadInput, RuntimeError):
    """This host is not set up as the one that steers the sweep; the message says what differs."""


def problem(root: str, folder: str) -> str:
    """Why this process cannot run a fine-tune of a sweep; '' if it can.

    Args:
        root: the project folder.
        folder: of the job file, relative to it.
    """
    try:
        _opened(root, folder)
    except (BadInput, OSError) as error:
        return f"{socket.gethostname()}: {error}"
    return ""


def carry_out(root: str, folder: str, events: str, name: str, until: float) -> str:
    """Run a fine-tune, all or a share of it, and write to its event log what came of it.

    Args:
        root: the project folder.
        folder: of the job file, relative to it.
        events: name of the event log, a file in that folder.
        name: of the fine-tune.
        until: the share of its run that it is trained to.

    Returns:
        Why there is not even an event log; '' if there is one.
    """
    # A daemon may have no children, but a fine-tune is one; it ends with its parent all the same.
    multiprocessing.current_process().daemon = False
    shared = Path(root) / folder
    if not (shared / job_file.NAME).is_file():
        return (
            f"{socket.gethostname()} does not see {shared}, or not what others write there; "
            "all hosts must share the project folder"
        )
    with Writer(shared / events) as watcher:
        reason = problem(root, folder)
        if reason:
            watcher.outcome(HostDiffers(reason))
            return ""
        sweep, compute = _opened(root, folder)
        try:
            with ExitStack() as locks:
                devices = locks.enter_context(locked_gpus(compute))
                watcher.outcome(
                    sweep.run(name, devices, watcher, locks.close)
                    if until == 1
                    else sweep.train_until(name, devices, watcher, until)
                )
        except Exception as error:
            watcher.outcome(error)
    return ""


@lru_cache(maxsize=1)  # a worker runs many of one sweep
def _opened(root: str, folder: str) -> tuple[Sweep, Compute]:
    job = JobFile.read(Path(root) / folder)
    if job.mlflow.startswith("sqlite") and job.host != socket.gethostname():
        raise HostDiffers(
            f"MLflow's store is a file of {job.host}, {job.mlflow}; start an MLflow server "
            "that all hosts reach, and set MLFLOW_TRACKING_URI to it"
        )
    os.environ["MLFLOW_TRACKING_URI"] = _hosts_mlflow or job.mlflow
    params = parse(job.params)
    code = stage("finetune", params, Path(root)).code
    _loaded_code[:] = _loaded_code or [code]
    if code != job.code:
        raise HostDiffers(
            f"the source files in {root} are not those of {job.host}; "
            "let both be at the same commit"
        )
    if code != _loaded_code[0]:
        raise HostDiffers("the source files changed since this worker started; start it again")
    project = Project(Path(root), params, job.tags)
    project.store().get([job.sweep])
    compute = params.compute
    share = groups(compute.model_copy(update={"slots": None}), runs=params.sweep.runs)
    sweep = open_sweep(project, code, job.threads or share.threads)
    if sweep.run_id != job.sweep:
        raise HostDiffers(
            f"the split or the initialisation in {root}/out/{params.experiment} is not that of "
            f"{job.host}; all hosts must share the project folder"
        )
    return sweep, compute
