"""evaluate: every model on held-out, test and the shifts; the first stage that sees these two."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from soup.evaluation import ensemble
from soup.evaluation.diagnosis.low_scores import Answers, low_scores
from soup.evaluation.disagreements import Opinion, opinion
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits, predicted
from soup.evaluation.number_tables import number_table, number_tests
from soup.evaluation.predict import predict
from soup.evaluation.prediction_cache import PredictionCache, Source, how_computed
from soup.evaluation.result_tables import Model, headline, measure_of, paired, table
from soup.evaluation.score_table import score_figures, with_score, with_score_test
from soup.evaluation.scores import ConfusionScore
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets
from soup.files import write_json, write_text
from soup.models import load_weights
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.cooking.cost import cost_metrics
from soup.pipeline.data_sets import evaluation_sets
from soup.pipeline.evaluation_sets import answers_of, sets_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.stages.evaluated_figures import (
    CURVES,
    gains_of,
    main_figures,
    named,
)
from soup.pipeline.stages.evaluated_models import (
    compared_soup,
    compared_soups,
    cooked_soup,
    kept_splits,
    single,
    zero_shot,
    zero_shot_head,
)
from soup.pipeline.stages.examples import examples
from soup.tracking import DataSet, Store, prediction_store
from soup.weights import Weights

SINGLES = ("zero-shot", "probe", "ingredient")
ENSEMBLES = ("ensemble", "greedy ensemble")


def run(project: Project, digest: str) -> dict[str, Any]:
    """Score ingredients, soups and ensembles, with intervals and paired tests.

    The soup is compared with those of other recipes, which are cooked unless they were before. No
    more than one model's logits on one split are in memory, beside a sum for each ensemble.

    Args:
        digest: the start of the digests of the runs made here.

    Raises:
        TrackingError: the runs do not belong together, or their weights were changed.
        DataError: an image is not what it was when the split was made.
    """
    store = project.store()
    cooked = read_record(project.out / "cook.json", run_id=str, recipe=str, kept=list)
    pool = CandidatePool(project, store, probe_too=True)
    others, warnings = compared_soups(project, pool, cooked["recipe"])
    kinds = {"zero-shot": "baseline"} if zero_shot_head(project) else {}
    kinds |= {f"{label} soup": "soup" for label in others} | dict.fromkeys(ENSEMBLES, "ensemble")
    tags = project.lineage() | pool.shared
    with _runs(store, digest, kinds, tags) as runs:
        singles = [single(stored) for stored in pool.everyone]
        labels = [r.label for r in project.params.soup.recipes]
        labels = [label for label in labels if label in others or label == cooked["recipe"]]
        soups = [
            compared_soup(*others[label], runs[f"{label} soup"])
            if label in others
            else cooked_soup(project, store, cooked)
            for label in labels
        ]
        baselines = [zero_shot(project, runs[name]) for name in runs if name == "zero-shot"]
        kept: list[dict[str, Any]] = []
        models = [*baselines, *singles, *soups]
        rows, targets, low = _scored(project, store, pool, models, cooked["recipe"], kept)
        warnings += low
        write_json(project.out / "examples.json", kept)
        results, tests = _tables(project, rows, cooked["recipe"], labels, pool, targets)
        # These have a curve over training steps already, of held-out accuracy.
        earlier = {s.name: s.run_id for s in [*singles, *soups] if s.name not in runs}
        used = evaluation_sets(project)
        _log(store, results, earlier, used, scored=True)
        _log(store, results, runs, used)
        for label, (_, result) in others.items():
            store.log(runs[f"{label} soup"], 0, cost_metrics(result.cost))
    figures = headline(results, tests, cooked["recipe"])
    if isinstance(pool.score, ConfusionScore):
        scores = score_figures(results, tests, cooked["recipe"], pool.score_name)
        for split, of_split in scores.items():
            figures[split][pool.score_name] = of_split
    write_json(project.out / "scores.json", figures)
    metrics = main_figures(figures, pool.score_name)
    write_json(project.out / "metrics.json", metrics)
    for warning in warnings:
        project.say(f"warning: {warning}")
    costs = {label: asdict(result.cost) for label, (_, result) in others.items()}
    costs |= {cooked["recipe"]: cooked["cost"]} if "cost" in cooked else {}
    return {
        "runs": earlier | runs,
        "warnings": warnings,
        "members": len(pool.ranked),
        "costs": {label: costs[label] for label in labels if label in costs},
        "summary": gains_of(metrics, figures, pool.score_name),
    }


def _scored(
    project: Project,
    store: Store,
    pool: CandidatePool,
    models: list[Source],
    recipe: str,
    kept: list[dict[str, Any]],
) -> tuple[list[Model], dict[str, Targets], list[str]]:
    """The rows of the result (models, best single, ensembles), the splits' right answers, and
    warnings about the scores.

    Args:
        recipe: of the soup whose answers are compared with the best single model's.
        kept: gets the test examples that these two answer differently.
    """
    params, size, device = project.params.evaluate, pool.batch_size, project.device()
    sets, keys = sets_of(project, pool.architecture, pool.heldout)

    def compute(weights: Weights, examples: Examples) -> Logits:
        load_weights(pool.model, weights, pool.architecture.model)
        # Held-out decides, and is scored in every stage alike.
        return predict(pool.model, examples, size, params.bf16 and examples is not pool.heldout)

    predictions = PredictionCache(
        sets,
        keys,
        pool.architecture,
        compute,
        kept_splits(params.keep_predictions, sets, len(pool.architecture.classes)),
        partial(prediction_store.find, store),
        partial(prediction_store.keep, store),
        lambda split: how_computed(device, size, params.bf16 and split != "heldout"),
        answers_of(project),
    )
    members = [stored.ingredient.name for stored in pool.ranked]
    numbers = pool.architecture.predicts_numbers
    chosen = ensemble.greedy(
        (stored.logits for stored in pool.ranked),
        pool.heldout.labels,
        pool.score if numbers else None,
    )
    ensembles = dict(zip(ENSEMBLES, [members, [members[at] for at in chosen]], strict=True))
    by_name = {source.name: source for source in models}
    answers: dict[str, Answers] = {}
    opinions: dict[str, Opinion] = {}
    compared = next(source.name for source in models if source.kind == recipe), members[0]

    def logits(name: str, split: str) -> Logits:
        found = predictions(by_name[name], split)
        # The zero-shot model was not trained on these classes, and a soup may not work.
        if split == "heldout" and by_name[name].kind in ("probe", "ingredient") and not numbers:
            answers[name] = Answers(predicted(found))
        if not numbers and split == keys["test"].of == "test" and name in compared:
            opinions[name] = opinion(found, keys["test"])
        return found

    images = len(models) * sum(map(len, sets.values()))
    with project.track("evaluating", images) as advance:
        scores = score_splits(
            [*by_name],
            ensembles,
            keys,
            logits,
            params.ece_bins,
            advance,
        )
    if opinions:
        of_soup, of_single = (opinions[name] for name in compared)
        classes = pool.architecture.classes
        kept += examples(project, keys["test"], of_soup, of_single, classes)
    rows = [Model(source.name, source.kind, scores[source.name]) for source in models]
    best = Model("best single", "best single", scores[members[0]])
    ordered = [
        *(row for row in rows if row.kind in SINGLES),
        best,
        *(row for row in rows if row.kind not in SINGLES),
        *(Model(name, name, scores[name]) for name in ENSEMBLES),
    ]
    return ordered, keys, low_scores(answers, pool.heldout.labels, pool.architecture.classes)


def _tables(
    project: Project,
    rows: list[Model],
    recipe: str,
    soups: Sequence[str],
    pool: CandidatePool,
    targets: Mapping[str, Targets],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores, and the soup's paired tests against the best single model; also as files, with the
    same tests of every soup."""
    out, shifts = project.out, [*project.params.data.shifts]
    resampling = project.resampling
    by_kind = {row.kind: row for row in rows}
    name, score = pool.score_name, pool.score
    numbers = pool.architecture.predicts_numbers
    if numbers:
        results = number_table(rows, shifts, resampling, name)
    else:
        results = table(rows, shifts, resampling)
    if isinstance(score, ConfusionScore):
        results = with_score(results, rows, shifts, name, score, targets, resampling)
    of_soups = {}
    for kind in soups:
        pair = by_kind[kind], by_kind["best single"]
        if numbers:
            of_soups[kind] = number_tests(*pair, shifts, resampling, name)
            continue
        of_soups[kind] = paired(*pair, shifts, resampling)
        if isinstance(score, ConfusionScore):
            of_soups[kind] = with_score_test(
                of_soups[kind], *pair, shifts, name, score, targets, resampling
            )
    compared = pd.concat([tests.assign(recipe=kind) for kind, tests in of_soups.items()])
    # For DVC's scatter plot: test against the mean of the shifts.
    across = "shifts" if shifts else "heldout"
    wide = results.pivot_table(measure_of(results), ["model", "kind"], "split", sort=False)
    plane = wide[["test", across]].rename(columns={across: "shifts"}).reset_index()
    frames = {"results": results, "tests": of_soups[recipe], "plane": plane}
    for name, frame in (frames | {"compared": compared}).items():
        write_text(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    return results, of_soups[recipe]


@contextmanager
def _runs(
    store: Store, digest: str, kinds: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Runs, by name, of what has none from an earlier stage; finished, or failed, in the end."""
    runs = {
        name: store.start(kind, f"{digest}-{name.replace(' ', '-')}", name, tags)
        for name, kind in kinds.items()
    }
    try:
        yield runs
    except Exception as error:
        for run_id in runs.values():
            store.end(run_id, failed=str(error) or repr(error))
        raise
    for run_id in runs.values():
        store.end(run_id)


def _log(
    store: Store,
    results: pd.DataFrame,
    runs: Mapping[str, str],
    data_sets: Sequence[DataSet],
    scored: bool = False,
) -> None:
    """The figures of models in their runs, of the data sets that they were measured on."""
    for name, run in zip(runs, store.get([*runs.values()]), strict=True):
        metrics = named(results[results["model"] == name])
        if scored:  # they have curves over training steps, of which this would be no part
            for score in CURVES:
                metrics.pop(f"heldout/{score}", None)
        store.log(run.run_id, 0, metrics, run.model_id, data_sets)
        store.log_inputs(run.run_id, run.without(data_sets))
