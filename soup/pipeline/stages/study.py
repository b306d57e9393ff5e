"""study: a finished sweep -> a table, a figure and a sentence that answer one question."""

from typing import Any

from soup.config.studies import StudyOptions
from soup.config.study_names import STUDIES
from soup.errors import BadInput
from soup.files import atomic_write, write_text
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.study_bench import bench_of, models_of
from soup.pipeline.study_others import add_others
from soup.report.figures import png, svg
from soup.studies import study_of

FOLDER = "studies"


def run(project: Project, name: str, file: str = "FILE") -> dict[str, Any]:
    """Make a study, and write its table (CSV) and figure (SVG, PNG) to out/EXPERIMENT/studies/.

    What was computed before, by this study or another, is not computed again.

    Args:
        name: of the study.
        file: the parameter file, for the command that makes what is missing.

    Raises:
        BadInput: the sweep lacks what the study needs.
    """
    if project.predicts_numbers:
        raise BadInput("studies compare accuracies, and the labels of this sweep are numbers")
    require(project, name, file)
    study, options = study_of(name), project.params.studies.get(name, StudyOptions())
    images = options.images or study.images
    bench = bench_of(project, images, file)
    add_others(bench, project, options.others, images, study.transplants)
    found = study.run(bench, options)
    folder = project.out / FOLDER
    write_text(folder / f"{name}.csv", found.table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / f"{name}.svg", svg(found.figure) + "\n")
    with atomic_write(folder / f"{name}.png") as aside:
        aside.write_bytes(png(found.figure))
    sweep = read_record(project.out / "finetune.json", sweep=str)["sweep"]
    files = [folder / f"{name}.{suffix}" for suffix in ("csv", "svg", "png")]
    project.store().log_files(sweep, files, FOLDER)
    return {
        "study": name,
        "question": STUDIES[name],
        "sentence": found.sentence,
        "computed": bench.kept.computed,
        "reused": bench.kept.reused,
        "summary": found.sentence,
    }


def require(project: Project, name: str, file: str = "FILE") -> None:
    """Check that the sweep has what a study needs; reads the records of the stages alone.

    Raises:
        BadInput: it is not finished or lacks something; the message has the command for it.
    """
    options = project.params.studies.get(name, StudyOptions())
    models = models_of(project, file)
    study_of(name).require(name, options, models, len(project.params.data.shifts), file)
