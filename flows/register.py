"""The stage register as a flow."""

from prefect import flow

from flows.outcome import promoted
from flows.stage import DEFAULT, Record, main, reuse
from soup.params import Params
from soup.project import Project


@flow
def register(params: Params = DEFAULT) -> Record:
    """Register the soup with its lineage; champion moves only to what is better."""
    from soup.stages import register as stage

    def work(project: Project, _: object) -> Record:
        registered = stage.run(project)
        promoted(params, registered)
        return registered

    return reuse("register", params, work)


if __name__ == "__main__":
    main(register)
