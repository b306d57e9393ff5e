"""The whole pipeline on one screen: from raw images to a registered, proven soup.

    python -m flows.pipeline                                 the embedded demo (params.yaml)
    python -m flows.pipeline --params configs/cifar10.yaml   real photographs

The order is that of `dvc.yaml`. What is finished is reused, what was interrupted goes on.
"""

from collections.abc import Sequence
from functools import partial

from prefect import Flow, flow

from flows.base import base
from flows.cook import cook
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.monitoring.outcome import report_outcome
from flows.prepare import prepare
from flows.probe import probe
from flows.register import register
from flows.report import report
from flows.server.client import retry_while_restarting
from flows.stage import DEFAULT, Record, check, main, open_project
from flows.summary import commit_to_dvc, summary
from soup.config.params import Params

STAGES = (prepare, base, probe, finetune, cook, evaluate, register, report)


@flow(name="pipeline")
def pipeline(params: Params = DEFAULT) -> Record:
    """Fine-tune many ways, average what helps, prove it on test and shifts, register it."""
    with report_outcome(params) as done:
        check(params)
        records = run(STAGES, params)
        commit_to_dvc(params)
        summary(params, records)
        done(records)
    return records


def run(stages: Sequence[Flow[[Params], Record]], params: Params) -> dict[str, Record]:
    """The records of stages, one after the other."""
    if finetune in stages and not (open_project(params).out / "finetune.json").exists():
        from flows.runners.local import warm

        warm(params)  # to be ready when the stages before it are done
    # Prefect's clients give up at once where no server answers; a stage finds what it has done.
    return {stage.name: retry_while_restarting(partial(stage, params)) for stage in stages}


if __name__ == "__main__":
    main(pipeline, engine=True)
