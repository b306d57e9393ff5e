"""The whole pipeline on one screen: from raw images to a registered, proven soup.

    python -m flows.pipeline                                 the embedded demo (params.yaml)
    python -m flows.pipeline --params configs/cifar10.yaml   real photographs

The order is that of `dvc.yaml`. What is finished is reused, what was interrupted goes on.
"""

from prefect import flow

from flows.base import base
from flows.cook import cook
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.outcome import told
from flows.prepare import prepare
from flows.probe import probe
from flows.register import register
from flows.report import report
from flows.stage import DEFAULT, Record, check, main
from flows.summary import commit_to_dvc, summary
from soup.params import Params

STAGES = (prepare, base, probe, finetune, cook, evaluate, register, report)


@flow(name="pipeline")
def pipeline(params: Params = DEFAULT) -> Record:
    """Fine-tune many ways, average what helps, prove it on test and shifts, register it."""
    with told(params) as done:
        check(params)
        records = {stage.name: stage(params) for stage in STAGES}
        commit_to_dvc(params)
        summary(params, records)
        done(records)
    return records


if __name__ == "__main__":
    main(pipeline, engine=True)
