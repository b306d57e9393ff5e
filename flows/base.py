"""The stage base as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, reuse
from soup.config.params import Params


@flow
def base(params: Params = DEFAULT) -> Record:
    """Fetch, read or pretrain the base model, with a head for our classes."""
    from soup.pipeline.stages import base as stage

    return reuse("base", params, lambda project, _: stage.run(project))


if __name__ == "__main__":
    main(base)
