"""The stage finetune as a flow: K fine-tunes as parallel tasks."""

from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.limits.device_limit import SLOTS, slots
from flows.monitoring.sweep_progress import SweepProgress
from flows.project import FlowParams, Record, display, open_project
from flows.runners.runner import Runner
from flows.stage import reuse
from flows.terminal.logs import log_context
from flows.time_spent import time_spent
from soup.config.compute import Compute
from soup.config.params import Params
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage
from soup.pipeline.sweep.sampling import runs_to_stop

if TYPE_CHECKING:
    from soup.pipeline.sweep.sweep import Sweep

RETRIES = 3  # of a fine-tune whose process was killed; each goes on from its state


@flow
def finetune(params: FlowParams) -> Record:
    """Fine-tune the model K ways, each in a process and an MLflow run of its own.

    Or import what was fine-tuned elsewhere, if the parameters name a folder of it.
    """
    with time_spent.importing():
        from flows.runners.choose import chosen, threads_here
        from flows.runners.local import warm
        from soup.pipeline.sweep.opening import open_sweep
        from soup.pipeline.sweep.recording import still_valid

    def work(project: Project, stage: Stage) -> dict[str, Any]:
        warm(params)
        sweep = open_sweep(project, stage.code, threads_here(params))
        batch, score = params.sweep.batch_size, sweep.score.name
        progress = SweepProgress(
            sweep.steps, batch, display(), params.experiment, score, project.unit
        )
        with (
            sweep.machine(project),
            log_context(sweep=sweep.run_id),
            progress as watcher,
            chosen(project, stage.code, sweep, watcher) as runner,
            sweep.probe_kept_meanwhile(),
        ):
            watcher.finished_before(sweep.finished)
            outcomes: dict[str, Any] = {**sweep.finished}
            outcomes |= successive_halving(sweep, params, runner, watcher)
            names = [name for name in sweep.longest_first() if name not in outcomes]
            outcomes |= fan_out(names, runner, params.compute, watcher)
        return sweep.close({name: outcomes[name] for name in sweep.steps})

    return reuse("finetune", params, work, partial(still_valid, open_project(params)))


def successive_halving(
    sweep: "Sweep", params: Params, runner: Runner, watcher: SweepProgress
) -> dict[str, BaseException]:
    """Train all fine-tunes to each rung in turn, and stop those that lag there.

    Returns:
        By name, why each fine-tune that does not go on was stopped, or what it raised.
    """
    halving = params.sweep.halving
    stopped: dict[str, BaseException] = {}
    for share in halving.rungs if halving and not sweep.imported else ():
        names = [name for name in sweep.longest_first() if name not in stopped]
        scores = fan_out(names, runner, params.compute, watcher, share)
        assert halving is not None
        for name, reason in runs_to_stop(scores, halving.keep, share, sweep.score.name).items():
            if name not in sweep.finished:  # to stop it would save nothing
                stopped[name] = sweep.stop(name, reason, watcher)
        stopped |= {n: score for n, score in scores.items() if isinstance(score, BaseException)}
    return stopped


def fan_out(
    names: list[str], runner: Runner, compute: Compute, watcher: SweepProgress, until: float = 1
) -> dict[str, Any]:
    """Train fine-tunes as parallel tasks, as many at once as the runner has slots.

    Args:
        names: of the fine-tunes, in the order that they begin in.
        until: the share of its run that each is trained to.

    Returns:
        By name, what each returned or raised.

    Raises:
        Refused: the runner cannot run fine-tunes of this project at all.
    """
    from flows.runners.event_log import Refused

    @task(
        task_run_name="{name}",
        tags=[f"{SLOTS}{compute.devices_per_run}"] if compute.limit else None,
        retries=RETRIES,
        retry_condition_fn=_crashed,
        cache_policy=NO_CACHE,  # MLflow knows by digest what is finished
    )
    def fine_tune(name: str) -> Any:
        with slots(compute, lambda message: watcher.say(f"{name} {message}")):
            return runner.call(name, until)

    threads: Any = ThreadPoolTaskRunner(max_workers=runner.slots)

    @flow(name="sweep", task_runner=threads)
    def sweep() -> dict[str, Any]:
        futures = {name: fine_tune.submit(name) for name in names}
        return {name: future.result(raise_on_failure=False) for name, future in futures.items()}

    outcomes = sweep()
    for outcome in outcomes.values():
        if isinstance(outcome, Refused):
            raise outcome
    return outcomes


def _crashed(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a fine-tune was killed, and is worth another try. What diverged diverges again."""
    from soup.train.worker_process import Crashed

    try:
        state.result()
    except Crashed:
        return True
    except Exception:
        return False
    return False
