"""The stage finetune as a flow: K fine-tunes as parallel tasks."""

import os
from collections.abc import Callable
from queue import Queue
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.progress import SweepProgress
from flows.stage import DEFAULT, Record, console, main, open_project, reuse
from soup.params import Compute, Halving, Params
from soup.project import Project
from soup.provenance import Stage
from soup.search import laggards

if TYPE_CHECKING:
    from soup.sweep import Sweep


@flow
def finetune(params: Params = DEFAULT) -> Record:
    """Fine-tune the model K ways, each in a process and an MLflow run of its own.

    Or import what was fine-tuned elsewhere, if the parameters name a folder of it.
    """
    from soup.imported import ImportedPool, listing
    from soup.sweep import Sweep

    elsewhere = params.sweep.imported is not None

    def work(project: Project, stage: Stage) -> dict[str, Any]:
        devices = slots(params.compute, params.sweep.runs)
        threads = max(1, (os.cpu_count() or 1) // len(devices))
        sweep: Sweep | ImportedPool
        if elsewhere:
            devices = [*dict.fromkeys(devices)]  # one model at a time on each
            sweep = ImportedPool.open(project, stage.code)
        else:
            sweep = Sweep.open(project, stage.code, threads)
        with SweepProgress(sweep.steps, console) as watcher:
            stopped = (
                successive_halving(sweep, params.sweep.halving, devices, watcher)
                if isinstance(sweep, Sweep)
                else {}
            )
            outcomes = fan_out(
                [name for name in sweep.steps if name not in stopped],
                devices,
                lambda name, device: sweep.run(name, device, watcher),
            )
        return sweep.close({name: {**outcomes, **stopped}[name] for name in sweep.steps})

    def still(record: Record) -> bool:
        return not elsewhere or bool(record["listing"] == listing(open_project(params)))

    return reuse("finetune", params, work, still)


def successive_halving(
    sweep: "Sweep", halving: Halving | None, devices: list[str], watcher: SweepProgress
) -> dict[str, BaseException]:
    """Take all to each rung in turn, and stop those that lag there; what was stopped, and why."""
    stopped: dict[str, BaseException] = {}
    for share in halving.rungs if halving else ():
        names = [name for name in sweep.steps if name not in stopped]
        scores = fan_out(
            names,
            devices,
            lambda name, device, at=share: sweep.to_rung(name, device, watcher, at),  # type: ignore[misc]
        )
        assert halving is not None
        for name, reason in laggards(scores, halving.keep, share).items():
            stopped[name] = sweep.stop(name, reason, watcher)
        stopped |= {n: score for n, score in scores.items() if isinstance(score, BaseException)}
    return stopped


Made = TypeVar("Made")


def fan_out(
    names: list[str], devices: list[str], work: Callable[[str, str], Made]
) -> dict[str, Made | BaseException]:
    """Call `work(name, device)` for every name, one at a time on each device; what each returned
    or raised.
    """
    free: Queue[str] = Queue()
    for device in devices:
        free.put(device)

    @task(
        task_run_name="{name}",
        retries=1,
        retry_condition_fn=_crashed,
        cache_policy=NO_CACHE,  # what is finished is known by digest, in MLflow
    )
    def fine_tune(name: str) -> Made:
        device = free.get()
        try:
            return work(name, device)
        finally:
            free.put(device)

    runner: Any = ThreadPoolTaskRunner(max_workers=len(devices))

    @flow(name="sweep", task_runner=runner)
    def sweep() -> dict[str, Made | BaseException]:
        futures = {name: fine_tune.submit(name) for name in names}
        return {name: f.result(raise_on_failure=False) for name, f in futures.items()}

    return sweep()


def slots(compute: Compute, runs: int) -> list[str]:
    """One device a fine-tune at a time: the GPUs, or the CPU as often as it has cores.

    Raises:
        ModelError: a GPU is asked for and there is none.
    """
    import torch

    from soup.models import ModelError

    gpus = torch.cuda.device_count() if compute.device != "cpu" else 0
    if compute.device == "cuda" and gpus == 0:
        raise ModelError("compute.device is cuda, but torch sees no GPU; set it to auto or cpu")
    count = min(compute.slots or gpus or os.cpu_count() or 1, runs)
    return [f"cuda:{index % gpus}" if gpus else "cpu" for index in range(count)]


def _crashed(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Try again what was killed, not what diverged: that would diverge again."""
    from soup.train.process import Crashed

    try:
        state.result()
    except Crashed:
        return True
    except Exception:
        return False
    return False


if __name__ == "__main__":
    main(finetune)
