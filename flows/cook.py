"""The stage cook as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, reuse
from soup.config.params import Params


@flow
def cook(params: Params = DEFAULT) -> Record:
    """Average the ingredients by the chosen recipe, judged on held-out alone."""
    from soup.pipeline.stages import cook as stage

    return reuse("cook", params, lambda project, now: stage.run(project, now.digest))


if __name__ == "__main__":
    main(cook)
