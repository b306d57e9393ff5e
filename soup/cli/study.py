"""soup study: the experiments of the paper on a finished sweep."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from soup.cli.options import Json
from soup.config.study_names import STUDIES


def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study.")] = "",
    params: Annotated[
        Path, typer.Option(metavar="FILE", help="Parameters of the finished sweep.")
    ] = Path("params.yaml"),
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Most examples of each split, spread evenly over its classes."),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(min=3, help="Points on a line, or on each side of the landscape's square."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A fine-tune that is studied; may be repeated."),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Most pairs of models, drawn at random.")
    ] = None,
    orders: Annotated[
        int | None, typer.Option(min=1, help="Random orders of the fine-tunes.")
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="What an ensemble is distilled on: train or heldout."),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Parameters of another finished project; may be repeated."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of what is drawn.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Study a table of results alone (results.csv of a pipeline, or the paper's "
            "individual_model_results.jsonl): number-of-models, hyperparameters, "
            "best-against-soup.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="With --results: for the table and figure.")
    ] = Path(),
    list_: Annotated[bool, typer.Option("--list", help="List the studies and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Answer a question of the paper from a sweep: a table, a figure and a sentence.

    soup study landscape --params params.yaml

    The sweep is that of the parameter file (python -m flows pipeline --params FILE). The study is
    written to out/EXPERIMENT/studies/, and becomes a section of the report. What a study computed
    is kept: one that was interrupted goes on, and another one of the same models uses it. Options
    that are not given are those under `studies` in the parameter file.
    """
    from soup.cli.terminal import table

    if list_ or not name:
        table("studies", ["name", "answers"], [*STUDIES.items()])
        if not list_:
            raise typer.Exit(2)
        return
    if results is not None:
        from soup.cli.study_results import study_results

        study_results(name, results, out, as_json)
        return
    given: dict[str, Any] = {"images": images, "points": points, "models": model}
    given |= {"pairs": pairs, "orders": orders, "seed": seed}
    given |= {"examples": examples, "others": other}
    _run(name, params, {k: v for k, v in given.items() if v not in (None, [])}, as_json)


# The questions, for `soup study --help`.
study.__doc__ = f"{study.__doc__}\n\n    \b\n" + "\n".join(
    f"    {name}: {question}" for name, question in STUDIES.items()
)


def _run(name: str, file: Path, given: dict[str, Any], as_json: bool) -> None:
    from soup.cli.terminal import bold, print_json, progress, say
    from soup.config.params import load
    from soup.config.studies import StudyOptions, require_study
    from soup.config.validation import check
    from soup.pipeline import study_record
    from soup.pipeline.project import Project, unit_of
    from soup.pipeline.stages import study as stages

    require_study(name)
    params = load(file)
    old = params.studies.get(name, StudyOptions())
    options = check(StudyOptions, {**old.model_dump(exclude_unset=True), **given}, "options")
    if given.get("others"):
        from soup.pipeline.study_others import existing

        options = options.model_copy(update={"others": existing(options.others, root_of(file))})
    params = params.model_copy(update={"studies": {**params.studies, name: options}})
    track = partial(progress, unit=unit_of(params))
    project = Project(root_of(file), params, say=say, track=track)
    stages.require(project, name, str(file))
    stage = study_record.definition(project, name)
    record = stage.finished()
    done_before = record is not None
    if record is None:
        record = stage.finish(stages.run(project, name, str(file)))
    study_record.redraw_report(project)
    files = [str(out.relative_to(project.root)) for out in stage.outs]
    if as_json:
        told = {key: record[key] for key in ("study", "question", "sentence", "seconds")}
        print_json({**told, "files": files})
        return
    say(bold(STUDIES[name]))
    say(record["sentence"])
    how = "done before, reused" if done_before else f"{record['seconds']:.0f} s"
    say(f"{', '.join(files)} ({how})")


def root_of(file: Path) -> Path:
    """The project folder: MODELSOUP_ROOT, or the nearest folder above a file with a dvc.yaml.

    Raises:
        BadInput: there is none.
    """
    from soup.errors import BadInput

    if os.environ.get("MODELSOUP_ROOT"):
        return Path(os.environ["MODELSOUP_ROOT"]).resolve()
    for folder in file.resolve().parents:
        if (folder / "dvc.yaml").is_file():
            return folder
    raise BadInput(
        f"{file} is in no project (a folder with dvc.yaml): a study is made of a sweep of the "
        "pipeline, whose results are in out/ of its checkout"
    )
