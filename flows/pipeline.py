"""The whole pipeline on one screen: from raw images to a registered, proven soup.

    python -m flows.pipeline                                 the embedded demo (params.yaml)
    python -m flows.pipeline --params configs/cifar10.yaml   real photographs

The order is that of `dvc.yaml`. A stage that is finished is reused, one that was interrupted goes
on.
"""

import runpy
import sys
import time
from collections.abc import Iterable
from functools import partial

from flows.head_start import begin_base
from flows.monitoring.outcome import report_outcome
from flows.preflight import check
from flows.project import FlowParams, Record, default_params, deployed_flow, open_project
from flows.server.client import retry_while_restarting
from flows.stages import STAGES
from flows.study import make
from flows.summary import commit_to_dvc, summary
from flows.time_spent import time_spent
from soup.config.params import Params


@deployed_flow("pipeline")
def pipeline(params: FlowParams | None = None) -> Record:
    """Fine-tune many ways, average what helps, prove it on test and shifts, register it."""
    params = params or default_params()
    if not time_spent.of_process:
        time_spent.restart()
    with report_outcome(params) as succeeded:
        with time_spent.part("check parameters"):
            check(params)
        records = run(STAGES, params)
        for name in params.studies:
            make(name, params)
        commit_to_dvc(params)
        summary(params, records, time.monotonic() - time_spent.zero)
        succeeded(records)
    return records


def run(names: Iterable[str], params: Params) -> dict[str, Record]:
    """Run stages one after the other; their records, by name."""
    names = list(names)
    # What is slow is begun now, to be ready when the stages before it are done.
    if "finetune" in names and not (open_project(params).out / "finetune.json").exists():
        from flows.runners.local import warm

        warm(params)
    if "base" in names:
        begin_base(params)
    # Prefect's clients give up at once where no server answers. A stage that is called again goes
    # on with what it has done.
    records: dict[str, Record] = {}
    for name in names:
        with time_spent.part(name):
            records[name] = retry_while_restarting(partial(STAGES[name], params))
    return records


if __name__ == "__main__":
    sys.argv.insert(1, "pipeline")
    runpy.run_module("flows", run_name="__main__")
