"""The stage prepare as a flow."""

from prefect import flow

from flows.stage import DEFAULT, Record, main, open_project, reuse
from soup.config.params import Params


@flow
def prepare(params: Params = DEFAULT) -> Record:
    """Check the images and split them; draw the embedded set first, if it is asked for."""
    from soup.pipeline.stages import prepare as stage

    project = open_project(params)
    return reuse(
        "prepare",
        params,
        lambda project, _: stage.run(project),
        still=lambda record: stage.unchanged(project, record),
    )


if __name__ == "__main__":
    main(prepare)
