"""The record of a study, and the report that shows it."""

from soup.config.studies import StudyOptions
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage, stage
from soup.pipeline.stages import report


def definition(project: Project, name: str) -> Stage:
    """The stage of a study for a project's parameters, in which the study need not be listed.

    Raises:
        FileNotFoundError: the sweep is not finished.
    """
    params = project.params
    listed = {name: StudyOptions()} | params.studies
    plain = stage(f"study@{name}", params.model_copy(update={"studies": listed}), project.root)
    if not listed[name].others:
        return plain
    from soup.pipeline.study_others import with_records

    return with_records(plain, project, listed[name].others)


def redraw_report(project: Project) -> None:
    """Draw the report again, if it was drawn, so that it has the studies that are done now."""
    try:
        drawn = stage("report", project.params, project.root)
    except FileNotFoundError:
        return
    if drawn.finished() is not None:
        drawn.finish(report.run(project))
