"""A study of a finished sweep as a flow: reused if it was done with the same models and options."""

from prefect import Flow
from pydantic import Field

from flows.project import FlowParams, Record, default_params, deployed_flow, open_project
from flows.stage import reuse
from soup.config.params import Params
from soup.config.studies import StudyName, StudyOptions, require_study
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage

PURPOSE = "Answer a question of the paper from a finished sweep: a table, a figure, a sentence."


class Asked(StudyOptions):
    """A study, and how it is made."""

    name: StudyName = Field(description="which question is answered (docs/studies/)")


@deployed_flow("study")
def study(study: Asked, params: FlowParams | None = None) -> Record:
    """Answer a question of the paper from a finished sweep: a table, a figure, a sentence.

    Args:
        study: which, and its options.
        params: those of the sweep.
    """
    options = StudyOptions(**study.model_dump(exclude={"name"}))
    params = params or default_params()
    listed = {**params.studies, study.name: options}
    return make(study.name, params.model_copy(update={"studies": listed}))


def flow_of(name: str, file: str) -> Flow[[Params], Record]:
    """The flow of one study with the options that the parameters have for it.

    Raises:
        BadInput: there is no such study.
    """

    def run(params: FlowParams) -> Record:
        return make(require_study(name), params, file)

    return Flow(run, name="study", description=PURPOSE)


def make(name: str, params: Params, file: str = "FILE") -> Record:
    """Make a study with the options that the parameters have for it, and redraw the report.

    Args:
        file: the parameter file, for errors.
    """
    from soup.pipeline import study_record
    from soup.pipeline.stages import study

    if name not in params.studies:
        listed = {**params.studies, name: StudyOptions()}
        params = params.model_copy(update={"studies": listed})
    project = open_project(params)
    study.require(project, name, file)

    def work(project: Project, _: Stage) -> Record:
        return study.run(project, name, file)

    record = reuse(f"study@{name}", params, work)
    study_record.redraw_report(project)
    return record
