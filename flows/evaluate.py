"""The stage evaluate as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, reuse
from soup.config.params import Params


@flow
def evaluate(params: Params = DEFAULT) -> Record:
    """Score every model on held-out, test and shifts, with intervals and paired tests."""
    from soup.pipeline.stages import evaluate as stage

    return reuse("evaluate", params, lambda project, now: stage.run(project, now.digest))


if __name__ == "__main__":
    main(evaluate)
