"""The stage probe as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, reuse
from soup.config.params import Params


@flow
def probe(params: Params = DEFAULT) -> Record:
    """Train a linear head on features computed once: the start of every fine-tune."""
    from soup.pipeline.stages import probe as stage

    return reuse("probe", params, lambda project, _: stage.run(project))


if __name__ == "__main__":
    main(probe)
