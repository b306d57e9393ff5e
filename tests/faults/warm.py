"""A process that has imported everything, and forks a flow's process whenever it is told to.

    python -m tests.faults.warm ADDRESS

Each flow is a process of its own, that can be killed as any other; it is spared the ten seconds of
imports, and so is its fork server. Without that, hundreds of kills would take hours.

The address is of an empty database of MLflow. It reads lines of JSON, {"start": root,
"log": path, "stages": [...], "environment": {...}} or {"wait": pid}, and answers each with one: the
process id, or the exit code (negative: the signal that ended it).
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    # Before Prefect: it reads the environment when it is imported.
    from mlflow import MlflowClient

    import flows.pipeline  # noqa: F401
    import soup.pipeline.candidate_pool
    import soup.pipeline.stages.evaluate
    import soup.pipeline.stages.register
    import soup.pipeline.stages.report
    import soup.pipeline.sweep.opening  # noqa: F401
    from soup.files import of_code

    of_code("soup.data", "soup.evaluation", "soup.models", "soup.recipes", "soup.weights")
    fork_server = _warm_fork_server()  # while no threads run
    # MLflow looks at the tables of the first database that it meets, for seconds.
    MlflowClient(sys.argv[1], sys.argv[1]).search_experiments()
    print(json.dumps({"fork_server": fork_server}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "start" in told:
            sys.stdout.flush()
            answer = os.fork()
            if not answer:
                os.environ.update(told["environment"])
                _flow(Path(told["start"]), told["log"], told["stages"])
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1])
        print(json.dumps(answer), flush=True)


def _warm_fork_server() -> int:
    """Its process id; those that are forked from here use it, though it is not their child."""
    from multiprocessing import forkserver

    from soup.train.fork_server import fork_fork_server

    fork_fork_server()
    own: Any = forkserver._forkserver  # type: ignore[attr-defined]
    # The environment of a fine-tune is that of the fork server, not of the flow.
    return int(own._forkserver_pid)


def _flow(root: Path, log: str, stages: list[str]) -> None:
    from multiprocessing import forkserver

    # It is not this process's child, and runs.
    running: Any = forkserver
    running._forkserver.ensure_running = running.ensure_running = lambda: None
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.chdir(root)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows import command

    os.environ["MODELSOUP_ROOT"] = str(root)
    code: Any = 1
    try:
        # As with the temporary server: each flow would wait a second for its heart to stop.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            command.run(_pipeline(stages), str(root / "params.yaml"), engine=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    # As an interpreter ends: Prefect's threads are waited for, and told to write what they hold.
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()  # type: ignore[attr-defined]
    os._exit(code if isinstance(code, int) else 1)


def _pipeline(stages: list[str]) -> Any:
    """The pipeline, or some of its stages alone: those after the soup take as long as the rest."""
    from flows import pipeline as whole

    some = [name for name in whole.STAGES if name in stages]
    if len(some) == len(whole.STAGES):
        return whole.pipeline

    from prefect import flow

    from flows.preflight import check
    from soup.config.params import Params

    @flow(name="some")
    def few(params: Params) -> dict[str, Any]:
        check(params)
        return whole.run(some, params)

    return few


if __name__ == "__main__":
    main()
