"""The stage register as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, reuse
from soup.params import Params


@flow
def register(params: Params = DEFAULT) -> Record:
    """Register the soup with its lineage; champion moves only to what is better."""
    from soup.stages import register as stage

    return reuse("register", params, lambda project, _: stage.run(project))


if __name__ == "__main__":
    main(register)
