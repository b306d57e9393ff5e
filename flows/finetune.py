"""The stage finetune as a flow: K fine-tunes as parallel tasks."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import Queue
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.stage import DEFAULT, Record, display, main, open_project, reuse
from flows.sweep_progress import SweepProgress
from soup.params import Halving, Params
from soup.project import Project
from soup.provenance import Stage
from soup.search import laggards
from soup.train.devices import Devices, groups

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
        shared_out = groups(params.compute, params.sweep.runs)
        devices = shared_out.groups
        if shared_out.note:
            project.say(shared_out.note)
        sweep: Sweep | ImportedPool
        if elsewhere:
            devices = tuple(dict.fromkeys((group[0],) for group in devices))  # one model on each
            sweep = ImportedPool.open(project, stage.code)
            watched: AbstractContextManager[None] = nullcontext()
        else:
            sweep = Sweep.open(project, stage.code, shared_out.threads)
            watched = sweep.machine(project)
        bars = SweepProgress(sweep.steps, params.sweep.batch_size, display)
        with watched, bars as watcher:
            watcher.found(sweep.finished)
            stopped = (
                successive_halving(sweep, params.sweep.halving, devices, watcher)
                if isinstance(sweep, Sweep)
                else {}
            )
            known: dict[str, dict[str, str] | BaseException] = {**sweep.finished, **stopped}
            made = fan_out(
                [name for name in sweep.steps if name not in known],
                devices,
                lambda name, group: sweep.run(name, group, watcher),
            )
        outcomes = {**known, **made}
        return sweep.close({name: outcomes[name] for name in sweep.steps})

    def still(record: Record) -> bool:
        return not elsewhere or bool(record["listing"] == listing(open_project(params)))

    return reuse("finetune", params, work, still)


def successive_halving(
    sweep: "Sweep", halving: Halving | None, devices: Sequence[Devices], watcher: SweepProgress
) -> dict[str, BaseException]:
    """Take all to each rung in turn, and stop those that lag there; what was stopped, and why."""
    stopped: dict[str, BaseException] = {}
    for share in halving.rungs if halving else ():
        # What is finished is not compared, for to stop it would save nothing.
        names = [name for name in sweep.steps if name not in {*stopped, *sweep.finished}]
        scores = fan_out(
            names,
            devices,
            lambda name, group, at=share: sweep.to_rung(name, group, watcher, at),  # type: ignore[misc]
        )
        assert halving is not None
        for name, reason in laggards(scores, halving.keep, share).items():
            stopped[name] = sweep.stop(name, reason, watcher)
        stopped |= {n: score for n, score in scores.items() if isinstance(score, BaseException)}
    return stopped


Made = TypeVar("Made")


def fan_out(
    names: list[str], devices: Sequence[Devices], work: Callable[[str, Devices], Made]
) -> dict[str, Made | BaseException]:
    """Call `work(name, devices)` for every name, one at a time on each group of devices; what each
    returned or raised.
    """
    free: Queue[Devices] = Queue()
    for group in devices:
        free.put(group)

    @task(
        task_run_name="{name}",
        retries=1,
        retry_condition_fn=_crashed,
        cache_policy=NO_CACHE,  # what is finished is known by digest, in MLflow
    )
    def fine_tune(name: str) -> Made:
        group = free.get()
        try:
            return work(name, group)
        finally:
            free.put(group)

    runner: Any = ThreadPoolTaskRunner(max_workers=len(devices))

    @flow(name="sweep", task_runner=runner)
    def sweep() -> dict[str, Made | BaseException]:
        futures = {name: fine_tune.submit(name) for name in names}
        return {name: f.result(raise_on_failure=False) for name, f in futures.items()}

    return sweep()


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
