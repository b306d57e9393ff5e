"""Studies on real sweeps of tiny models: of pictures, of pictures with BatchNorm, and of texts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from markupsafe import escape

from soup.config.studies import StudyOptions
from soup.config.study_names import STUDIES
from soup.errors import BadInput
from soup.models import open_model
from soup.pipeline import study_bench, study_record
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe, register, report, study
from soup.pipeline.sweep.opening import open_sweep
from soup.studies.point import mean, only
from soup.train.fork_server import start_fork_server
from tests import homes, text_worlds
from tests.checkouts import REPO
from tests.pipeline.projects import Silent, probed, record, swept

pytestmark = pytest.mark.slow
SMALL = StudyOptions(points=4, images=20)
LACKING = {  # what a single sweep of plain fine-tunes lacks
    "averages": r"two kinds of models .* add sweep\.ema",
    "weak-pretraining": r"one other finished sweep, .* name it by --other WEAK\.yaml",
    "other-data": r"two or more finished projects .* name each by --other FILE",
}


def finished(project: Project) -> Project:
    """The project with its soup, and the files by which a stage knows what it depends on."""
    record(project, "cook", cook.run(project, "cook"))
    shutil.copy(REPO / "dvc.yaml", project.root)
    (project.root / "soup").symlink_to(REPO / "soup")
    return project


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished(swept(probed(tmp_path_factory.mktemp("pictures"))))
    record(project, "evaluate", evaluate.run(project, "evaluate"))
    record(project, "register", register.run(project))
    return project


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from soup.config.params import parse

    root = tmp_path_factory.mktemp("texts")
    start_fork_server("transformers")
    text_worlds.sentences(root / "data")
    raw = text_worlds.parameters(root, text_worlds.tiny(root / "bert"))
    project = Project(root, parse(raw), {"flow_run": "none"})
    project.out.mkdir(parents=True)
    homes.tracking(root)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(project, name, stage.run(project))
    sweep = open_sweep(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    return finished(project)


def asked(project: Project, name: str, options: StudyOptions = SMALL) -> Project:
    return replace(project, params=project.params.model_copy(update={"studies": {name: options}}))


def test_models_answer_as_the_pipeline_scored_them(pictures: Project) -> None:
    bench = study_bench.bench_of(pictures, None)
    results = pd.read_csv(pictures.out / "results.csv")
    for row in results[results["kind"].isin(["ingredient", "probe"])].to_dict("records"):
        assert bench.accuracy(only(row["model"]), row["split"]) == pytest.approx(row["accuracy"])
    passes = bench._predict.passes  # type: ignore[attr-defined]
    assert passes == 0  # evaluate has made them all
    best = study_bench.best_of(pictures, "FILE")
    assert (best.name, best.digest) == (bench.ranked[0], bench.models[bench.ranked[0]].digest)
    alone = study_bench.bench_of(pictures, None)
    alone._find = lambda split, digest: alone.kept.answers.find(digest)
    for name in alone.models:  # and kept them where studies look, beside those of the runs
        assert (alone.logits(only(name), "test") == bench.logits(only(name), "test")).all()
    assert alone._predict.passes == 0  # type: ignore[attr-defined]
    uniform = results[(results["kind"] == "uniform") & (results["split"] == "test")]
    assert bench.accuracy(bench.soup("uniform"), "test") == pytest.approx(
        float(uniform["accuracy"].iloc[0])
    )
    architecture, _ = open_model(pictures.out / "soup")
    sets, _ = sets_of(pictures, architecture, heldout_of(pictures, architecture))
    assert len(sets["test"]) == len(bench.sets["test"])


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in LACKING])
def test_each_study_writes_a_table_a_figure_and_a_sentence(pictures: Project, name: str) -> None:
    project = asked(pictures, name, options_of(name))
    stage = study_record.definition(project, name)
    done = stage.finish(study.run(project, name))
    assert stage.finished() is not None
    assert done["sentence"].endswith(".")
    assert "nan" not in done["sentence"]
    assert len(pd.read_csv(project.out / "studies" / f"{name}.csv"))
    again = study.run(project, name)
    assert (again["computed"], again["sentence"]) == (0, done["sentence"])


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in LACKING])
def test_each_study_is_of_texts_too(texts: Project, name: str) -> None:
    done = study.run(asked(texts, name, options_of(name)), name)
    assert done["sentence"].endswith(".")


@pytest.mark.parametrize("name", LACKING)
def test_what_a_study_lacks_is_said_with_what_makes_it(pictures: Project, name: str) -> None:
    with pytest.raises(BadInput, match=f"^study {name} needs {LACKING[name]}"):
        study.run(asked(pictures, name, options_of(name)), name)
    assert not (pictures.out / "studies" / f"{name}.csv").exists()


def options_of(name: str) -> StudyOptions:
    """Few points, where the study takes them."""
    takes = study.study_of(name).takes
    return SMALL if "points" in takes else StudyOptions(images=20)


def test_the_report_shows_the_studies_that_are_done(pictures: Project) -> None:
    project = asked(pictures, "landscape")
    stage = study_record.definition(project, "landscape")
    done = stage.finish(study.run(project, "landscape"))
    drawn = study_record.stage("report", project.params, project.root)
    drawn.finish(report.run(project))
    page = (project.out / "report.html").read_text()
    assert escape(done["sentence"]) in page
    assert STUDIES["landscape"] in page
    (project.out / "studies" / "landscape.json").unlink()
    study_record.redraw_report(project)
    assert escape(done["sentence"]) not in (project.out / "report.html").read_text()
    assert drawn.finished() is not None


def test_combinations_of_batchnorm_models_have_recomputed_statistics(tmp_path: Path) -> None:
    project = finished(swept(probed(tmp_path, norm_layer="batchnorm2d")))
    bench = study_bench.bench_of(project, None)
    cooked = json.loads((project.out / "cook.json").read_text())
    assert "batchnorm" in cooked
    right = bench.score(mean(cooked["kept"]), "heldout").right
    assert int((~right).sum()) == cooked["errors"]


def test_what_a_sweep_lacks_is_said_with_the_command_that_makes_it(
    pictures: Project, tmp_path: Path
) -> None:
    project = asked(pictures, "landscape")
    with pytest.raises(BadInput, match="no fine-tune ft-9; it has ft-000, ft-001, ft-002"):
        study.run(asked(project, "landscape", StudyOptions(models=["ft-9"])), "landscape")
    with pytest.raises(BadInput, match="takes no option pairs; it takes models, points, images"):
        study.run(asked(project, "landscape", StudyOptions(pairs=3)), "landscape")
    empty = replace(project, root=tmp_path)
    with pytest.raises(BadInput, match=r"no finished sweep .*flows pipeline --params mine\.yaml"):
        study.run(empty, "landscape", "mine.yaml")
    file = project.out / "finetune.json"
    plain = file.read_text()
    for keep, told in (
        (["probe", "ft-000"], "needs 2 fine-tunes, .* has 1: raise sweep.runs .* flows finetune"),
        (["ft-000", "ft-001"], "needs the initialisation .* flows probe --params mine.yaml"),
    ):
        sweep = json.loads(plain)
        sweep["runs"] = {name: sweep["runs"][name] for name in keep}
        file.write_text(json.dumps(sweep))
        with pytest.raises(BadInput, match=told):
            study.run(project, "landscape", "mine.yaml")
    file.write_text(plain)


def test_a_model_that_was_deleted_is_named_with_the_remedy(pictures: Project) -> None:
    project = asked(pictures, "landscape")
    runs = json.loads((project.out / "finetune.json").read_text())["runs"]
    client = project.store().client
    client.delete_run(runs["ft-001"])
    with pytest.raises(BadInput) as refused:
        study.run(project, "landscape", "mine.yaml")
    client.restore_run(runs["ft-001"])
    assert f"mlflow runs restore --run-id {runs['ft-001']}" in str(refused.value)
    assert "python -m flows finetune --params mine.yaml" in str(refused.value)
