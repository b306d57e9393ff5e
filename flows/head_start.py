"""What a run does while Prefect's server starts: its imports, and the demo's base."""

import gc

from flows.project import open_project
from flows.time_spent import time_spent
from soup.config.params import Params


def head_start(params: Params) -> None:
    """Import what a new run needs, and begin what its stages would wait for.

    That is the process that fine-tunes are forked from, and the demo's base. To be called before
    anything is computed: see `fork_fork_server`.
    """
    fine_tunes = params.compute.runner.kind == "local" and params.sweep.imported is None
    with time_spent.importing():
        if fine_tunes and not (open_project(params).out / "finetune.json").exists():
            from soup.train.fork_server import fork_fork_server

            fork_fork_server(params.base.library)
        begin_base(params)
        import soup.tracking  # noqa: F401
    gc.freeze()  # what is imported stays; to look for garbage there takes a second at the end


def begin_base(params: Params) -> None:
    """Begin to pretrain the demo's base, unless that is done: what comes after waits for it."""
    if params.base.weights == "embedded" and not (open_project(params).out / "base.json").exists():
        from soup.pipeline.demo.pretrain import begin

        begin(params.base, params.data)
