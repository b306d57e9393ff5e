"""report: all of it -> one page that opens from disk."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from soup.config.study_names import STUDIES
from soup.errors import BadInput, without_password
from soup.files import of_file, write_text
from soup.pipeline.project import Project
from soup.pipeline.soup_card import figures_in, write_card
from soup.pipeline.stage_record import read_record, read_rows
from soup.report.page import Report, Study, page, verdict_of
from soup.tracking import Store, Tracked

BEFORE = ("prepare", "base", "probe", "finetune", "cook", "evaluate", "register")


def run(project: Project) -> dict[str, Any]:
    """Draw the page, and put it beside the soup and the sweep in MLflow.

    Raises:
        BadInput: another version of modelsoup wrote what the page is drawn from.
    """
    out = project.out
    store = project.store()
    records = {name: read_record(out / f"{name}.json") for name in BEFORE}
    sweep = read_record(out / "finetune.json", sweep=str, runs=dict, failed=dict)
    cooked = read_record(out / "cook.json", run_id=str, recipe=str, kept=list)
    score = cooked.get("score", "accuracy")
    registered = read_record(out / "register.json", model=str, version=str, reason=str)
    soup = store.get([cooked["run_id"]])[0]
    results = pd.read_csv(out / "results.csv")
    measure = str(results.columns[results.columns.get_loc("n") + 1])
    names = {measure: "accuracy", "soup_closer": "soup_only", "single_closer": "single_only"}
    report = Report(
        title=f"Model soup: {project.params.experiment}",
        recipe=cooked["recipe"],
        # The probe had another name before.
        results=results.rename(columns=names).replace({"kind": {"initialisation": "probe"}}),
        ingredients=_ingredients(store, sweep, cooked["kept"], score),
        trace=_trace(project),
        traces=_traces(project),
        tests=pd.read_csv(out / "tests.csv").rename(columns=names),
        lineage={
            "Registered": f"{registered['model']} version {registered['version']}",
            "Champion": registered["reason"],
            "Soup run": store.link(soup.run_id) or soup.run_id,
            "Sweep run": store.link(sweep["sweep"]) or sweep["sweep"],
            "Base": _base(project),
            "Base, SHA-256": soup.tags["base"],
            "Split": soup.tags["split"],
            "Split, DVC's MD5": soup.tags["dvc.development.csv"],
            "Commit": soup.tags["commit"] or "unknown",
            "Prefect flow run": soup.tags.get("flow_run", "none"),
        },
        use=_use(project, registered),
        examples=_examples(project),
        unit=project.unit,
        score="" if score == measure else score,
        measure=measure,
        confidence=project.params.evaluate.confidence,
        warnings=[*records["evaluate"].get("warnings", []), *_champion(registered)],
        costs=records["evaluate"].get("costs", {}),
        members=records["evaluate"].get("members", 0),
        studies=studies(project),
        stage_seconds={name: record["seconds"] for name, record in records.items()},
    )
    write_text(out / "report.html", page(report))
    facts = {
        "registered": f"{registered['model']} version {registered['version']}",
        "commit": soup.tags["commit"] or "unknown",
        "SHA-256 of the base": soup.tags["base"],
    }
    digests = cooked.get("digests") or dict.fromkeys(cooked["kept"], "")
    scores = figures_in(results, cooked["recipe"], measure)
    told = verdict_of(report)
    sentences = (told.headline, *(comparison.sentence for comparison in told.comparisons))
    card = write_card(project, cooked, digests, scores, facts, sentences)
    store.log_files(soup.run_id, [card])
    for run_id in (soup.run_id, sweep["sweep"]):
        store.log_files(run_id, [out / "report.html"])
    return {
        "soup": store.link(soup.run_id),
        "summary": str((out / "report.html").relative_to(project.root)),
    }


def studies(project: Project) -> list[Study]:
    """The studies that are done, in the order of their list; those whose files changed are not."""
    folder = project.out / "studies"
    found = []
    for name in STUDIES:
        if not (folder / f"{name}.json").is_file():
            continue
        record = read_record(folder / f"{name}.json", outs=dict, question=str, sentence=str)
        files = {file: folder / file for file in (f"{name}.csv", f"{name}.svg")}
        if any(
            not path.is_file() or of_file(path) != record["outs"].get(file)
            for file, path in files.items()
        ):
            project.say(f"warning: study {name} is left out: its files are not those it wrote")
            continue
        figure, table = files[f"{name}.svg"].read_text(), pd.read_csv(files[f"{name}.csv"])
        found.append(Study(name, record["question"], record["sentence"], figure, table))
    return found


def _base(project: Project) -> str:
    """The base in words: the model, and where its weights are from."""
    base = project.params.base
    return f"{base.library}:{base.model}, weights: {base.weights}"


def _use(project: Project, registered: Mapping[str, Any]) -> dict[str, str]:
    """How to use the soup, by label: from its file, and from the registry."""
    model = f"models:/{registered['model']}/{registered['version']}"
    soup = (project.out / "soup").relative_to(project.root)
    of_text = project.params.data.text is not None
    example = '["A sentence."]' if of_text else '[Path("image.jpg").read_bytes()]'
    use = {
        "Command": f"soup predict {soup} {'TEXTS.csv' if of_text else 'IMAGES'} ...",
        "Python": "from pathlib import Path\n\nimport mlflow\n\n"
        f"mlflow.set_tracking_uri({without_password(project.store().uri)!r})\n"
        f"model = mlflow.pyfunc.load_model({model!r})\n"
        f"model.predict({example})",
    }
    if of_text:
        writes = project.params.base.head == "text"
        kind = "Seq2SeqLM" if writes else "SequenceClassification"
        use["transformers"] = (
            f"from transformers import AutoModelFor{kind}, AutoTokenizer\n\n"
            f"model = AutoModelFor{kind}.from_pretrained({str(soup)!r})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({str(soup)!r})"
        )
    return use


def _champion(registered: Mapping[str, Any]) -> list[str]:
    """A caveat if the soup became the champion by less than noise."""
    if not registered.get("within_noise"):
        return []
    return [
        f"It became the champion by a difference within noise: {registered['reason']}. With "
        "register.largest_p the gate asks for evidence."
    ]


def _examples(project: Project) -> list[dict[str, Any]]:
    """The test examples that the soup and the best single model answer differently.

    Raises:
        DamagedRecord: the file is none of `evaluate`'s.
    """
    return read_rows(
        project.out / "examples.json",
        kind=str,
        label=str,
        soup=str,
        single=str,
        soup_probability=float,
        single_probability=float,
    )


def _trace(project: Project) -> pd.DataFrame:
    path = project.out / "trace.csv"
    trace = pd.read_csv(path)
    if "examples_seen" not in trace:
        raise BadInput(
            f"{path.relative_to(project.root)} has no column examples_seen: it was written by "
            "another version of modelsoup; run the whole pipeline, which redoes what is out of date"
        )
    return trace


def _traces(project: Project) -> dict[str, pd.DataFrame]:
    """The traces of the soups that the chosen one is compared with, by recipe.

    There is no such file in what an earlier version evaluated.
    """
    path = project.out / "traces.csv"
    if not path.is_file():
        return {}
    together = pd.read_csv(path)
    found = {str(recipe): trace for recipe, trace in together.groupby("recipe", sort=False)}
    return {recipe: trace.reset_index(drop=True) for recipe, trace in found.items()}


def _ingredients(
    store: Store, sweep: Mapping[str, Any], kept: list[str], score: str
) -> pd.DataFrame:
    def row(run: Tracked) -> dict[str, Any]:
        facts = {
            "name": run.name,
            "run_id": run.run_id,
            "url": store.link(run.run_id),
            "status": "finished",
            "reason": "",
            "kept": run.name in kept,
            "heldout_accuracy": run.metrics.get(f"heldout/{score}", math.nan),
        }
        return facts | run.settings | facts  # the facts come first, and no setting replaces one

    def lost(name: str, reason: str) -> dict[str, Any]:
        facts = {"name": name, "run_id": "", "url": "", "status": "failed", "reason": reason}
        return {**facts, "kept": False, "heldout_accuracy": math.nan}

    finished = [row(run) for run in store.get([*sweep["runs"].values()])]
    return pd.DataFrame([*finished, *(lost(n, r) for n, r in sweep["failed"].items())])
