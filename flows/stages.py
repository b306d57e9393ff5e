"""The eight stages as Prefect flows, in their order; `dvc.yaml` says what each depends on."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from prefect import Flow
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from flows.finetune import finetune
from flows.monitoring.outcome import promoted
from flows.preflight import require_experiment
from flows.project import FlowParams, Record, in_prefect, open_project
from flows.stage import reuse
from flows.time_spent import time_spent
from soup.config.params import Params
from soup.evaluation.score_text import ACCURACY, score_text
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage, read_record


def _stage(
    name: str,
    purpose: str,
    takes_digest: bool = False,
    checks_images: bool = False,
    before: Callable[[Params], None] | None = None,
    when_run: Callable[[Params, Record], None] | None = None,
    always: Callable[[Params, Record], None] | None = None,
) -> Flow[[Params], Record]:
    """The flow of a stage, which calls `run` of `soup.pipeline.stages.<name>`.

    Args:
        name: of the stage.
        purpose: what it does, in a sentence.
        takes_digest: whether `run` takes the stage's digest too.
        checks_images: whether a record is reused only if `unchanged` says that the images are.
        before: called before the stage is run, not before it is reused.
        when_run: called with the record when the stage was run, not when it was reused.
        always: called with the record each time.
    """

    def code() -> Any:
        # What it imports takes seconds, and a stage that is reused needs none of it.
        with time_spent.importing():
            return import_module(f"soup.pipeline.stages.{name}")

    def run(params: FlowParams) -> Record:
        def work(project: Project, stage: Stage) -> Record:
            if before:
                before(params)
            record: Record = code().run(project, *([stage.digest] if takes_digest else []))
            if when_run:
                when_run(params, record)
            return record

        def still_valid(record: Record) -> bool:
            return not checks_images or code().unchanged(open_project(params), record)

        record = reuse(name, params, work, still_valid)
        if always:
            always(params, record)
        return record

    return Flow(run, name=name, description=purpose)


def announce(params: Params, registered: Record) -> None:
    """Tell the webhook of a promotion, and Prefect's automations of the new version.

    One of the automations evaluates the version (prefect.yaml).
    """
    promoted(params, registered)
    if not in_prefect():
        return
    model, version = registered["model"], registered["version"]
    emit_event(
        "soup.registered",
        resource={
            "prefect.resource.id": f"mlflow.model.{model}.{version}",
            "prefect.resource.name": f"{model} version {version}",
        },
        payload={**registered, "params": params.model_dump(mode="json", by_alias=True)},
    )


def show_results(params: Params, reported: Record) -> None:
    """Show the table of results in Prefect, as an artifact of the flow run."""
    if not in_prefect():
        return
    import pandas as pd

    out = open_project(params).out
    results = pd.read_csv(out / "results.csv")
    score = read_record(out / "cook.json").get("score", ACCURACY)
    table = results.pivot_table(index="model", columns="split", values=score, sort=False)
    rows = [
        {"model": model} | {split: score_text(score, value) for split, value in scores.items()}
        for model, scores in table.to_dict("index").items()
    ]
    what = "Accuracy" if score == ACCURACY else f"{score.capitalize()} (times 100)"
    link = f" [In MLflow]({reported['soup']})" if reported["soup"] else ""
    create_table_artifact(rows, key="results", description=f"{what}, {params.experiment}.{link}")


_FLOWS = (
    _stage(
        "prepare",
        "Check the images or texts and split them; draw the embedded set first, if asked for.",
        checks_images=True,
    ),
    _stage(
        "base",
        "Fetch, read or pretrain the base model, with a head for our classes.",
        before=require_experiment,
    ),
    _stage(
        "probe",
        "Train a linear head on features computed once: the start of every fine-tune.",
        before=require_experiment,
    ),
    finetune,
    _stage(
        "cook",
        "Average the ingredients by the chosen recipe, judged on held-out alone.",
        takes_digest=True,
    ),
    _stage(
        "evaluate",
        "Score every model on held-out, test and shifts, with intervals and paired tests.",
        takes_digest=True,
    ),
    _stage(
        "register",
        "Register the soup with its lineage; champion moves only to what is better.",
        when_run=announce,
    ),
    _stage(
        "report",
        "Draw the page of the result, and show its table in Prefect.",
        always=show_results,
    ),
)
STAGES: dict[str, Flow[[Params], Record]] = {stage.name: stage for stage in _FLOWS}
