"""The stage register as a flow."""

from prefect import flow
from prefect.events import emit_event

from flows.monitoring.outcome import promoted
from flows.stage import DEFAULT, Record, in_prefect, main, reuse
from soup.config.params import Params
from soup.pipeline.project import Project


@flow
def register(params: Params = DEFAULT) -> Record:
    """Register the soup with its lineage; champion moves only to what is better."""
    from soup.pipeline.stages import register as stage

    def work(project: Project, _: object) -> Record:
        registered = stage.run(project)
        promoted(params, registered)
        if in_prefect():
            announce(registered, params)
        return registered

    return reuse("register", params, work)


def announce(registered: Record, params: Params) -> None:
    """Tell Prefect's automations, one of which evaluates the version (prefect.yaml)."""
    model, version = registered["model"], registered["version"]
    emit_event(
        "soup.registered",
        resource={
            "prefect.resource.id": f"mlflow.model.{model}.{version}",
            "prefect.resource.name": f"{model} version {version}",
        },
        payload={**registered, "params": params.model_dump(mode="json", by_alias=True)},
    )


if __name__ == "__main__":
    main(register)
