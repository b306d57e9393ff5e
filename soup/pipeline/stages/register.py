"""register: the soup -> a version of a registered model, and the champion if it is better."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from soup import tracking
from soup.data.text.examples import labels_of
from soup.errors import some
from soup.evaluation import prediction_file
from soup.evaluation.answers_tag import packed_answers
from soup.evaluation.count_tests import Answers
from soup.evaluation.metrics import Correct, predicted
from soup.evaluation.number_scores import MEASURE, NUMBER_SCORES, Numbers, value
from soup.evaluation.predict import predict
from soup.evaluation.promotion_gate import NOISE, Decision, Scored, decide, packed, scored
from soup.evaluation.score_gate import decide_by_score
from soup.evaluation.score_text import ACCURACY, score_text
from soup.evaluation.scores import ConfusionScore
from soup.files import parse_json
from soup.models import open_model
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.task_score import score_of, score_settings

LINKED = 20  # ingredients in a version's description
ROWS = 30  # splits there


class Answered(NamedTuple):
    """The answers of a model to the held-out examples: classes or numbers.

    Attributes:
        correct: which of them are right.
        answers: the labels and the answers, as indices of the project's classes.
        numbers: the labels and what the model predicts.
    """

    correct: Correct | None = None
    answers: Answers | None = None
    numbers: Numbers | None = None


def run(project: Project) -> dict[str, Any]:
    """Register the soup with its lineage; `champion` moves only to what is better on held-out.

    Raises:
        TrackingError: the registry refuses.
        Refused: the registry holds other files than were registered, or such as are not ours.
    """
    store = project.store()
    cooked = read_record(project.out / "cook.json", run_id=str, model_id=str, recipe=str, kept=list)
    name = cooked.get("score", ACCURACY)
    every = read_record(project.out / "scores.json", test=dict)
    metrics = {split: figures.get(name, figures) for split, figures in every.items()}
    soup = store.get([cooked["run_id"]])[0]
    own = answers_in(project)
    inherited = ("base", "split", "sweep", "recipe", "ingredients", "digest", "commit")
    tags = {
        **project.lineage(),
        **{key: soup.tags[key] for key in (*inherited, tracking.WEIGHTS_DIGEST)},
        "kept": str(len(cooked["kept"])),
        "run": soup.run_id,
        **_heldout_tags(own),
        **({"test_accuracy": str(every["test"]["soup"])} if own.numbers is None else {}),
        "test_gain": str(metrics["test"]["gain"]),
        "test_p": str(metrics["test"]["p_value"]),
    }
    if name != ACCURACY:
        _, positive = score_settings(project.params, project.classes())
        tags |= {
            "score": name,
            "positive": str(positive),
            "answers": packed_answers(own.answers) if own.answers else "",
            "heldout_score": str(cooked["heldout_score"]),
            "test_score": str(metrics["test"]["soup"]),
        }
    numbers = own.numbers is not None
    names = {s: name if numbers or name in figures else ACCURACY for s, figures in every.items()}
    description = _description(store, soup, cooked, metrics, names)
    store.describe(soup.run_id, description)
    version = tracking.register(
        store,
        project.params.registry.model,
        cooked["model_id"],
        soup.run_id,
        tags,
        description,
    )
    decision = promote(project, store, version, own)
    test = "" if name == ACCURACY else f"{score_text(names['test'], metrics['test']['soup'])}, "
    return {
        "model": version.model,
        "version": version.number,
        "run_id": soup.run_id,
        "promoted": decision.promote,
        "reason": decision.reason,
        "within_noise": decision.promote and decision.p is not None and decision.p >= NOISE,
        "summary": f"{version}, "
        f"{'the new champion' if decision.promote else 'not champion'}: {decision.reason}; "
        f"test {test}{100 * metrics['test']['gain']:+.2f} against its best single model "
        f"(p = {metrics['test']['p_value']:.2g})",
    }


def answers_in(project: Project) -> Answered:
    """The soup's answers to the held-out examples, from the file that cook wrote."""
    rows = project.manifest(project.development).split("heldout")
    labels = labels_of([row.label for row in rows], project.classes())
    outputs = prediction_file.read(project.soup_heldout).astype(np.float32)
    if project.predicts_numbers:
        return Answered(numbers=Numbers(labels, outputs[:, 0]))
    right = prediction_file.read(project.soup_heldout, "correct").astype(np.bool_)
    return Answered(right, Answers(labels, predicted(outputs)))


def _heldout_tags(own: Answered) -> dict[str, str]:
    """The held-out result of a version, for its tags."""
    if own.numbers is not None:
        score = value(NUMBER_SCORES[MEASURE], [own.numbers])
        return {"examples": str(len(own.numbers.labels)), MEASURE: f"{score:.6f}"}
    assert own.correct is not None
    return {
        "errors": str(int((~own.correct).sum())),
        "examples": str(len(own.correct)),
        "correct": packed(own.correct),
    }


def promote(
    project: Project, store: tracking.Store, challenger: tracking.Version, own: Answered
) -> Decision:
    """Compare a version with the champion, and promote it if it is better.

    The champion is evaluated again if its answers to these held-out examples are unknown.

    Args:
        own: the challenger's answers to the project's held-out examples.
    """
    name, score = score_of(project.params, project.classes())

    def judge(holder: tracking.Version | None) -> Decision:
        def rescore() -> Answered | None:
            assert holder is not None
            target = project.cache / "champions" / f"{holder.model}-{holder.number}"
            return answered(project, tracking.fetch(store, holder, target))

        ours = Scored(
            challenger.number,
            challenger.tags["split"],
            own.correct,
            tracking.rolled_back(store, challenger),
            own.numbers,
            own.answers,
        )
        theirs = scored(holder.number, holder.tags) if holder else None
        largest_p = project.params.registry.largest_p

        def right_or_numbers() -> Correct | Numbers | None:
            again = rescore()
            return again and (again.correct if again.numbers is None else again.numbers)

        def answers() -> Answers | None:
            again = rescore()
            return None if again is None else again.answers

        if isinstance(score, ConfusionScore):
            return decide_by_score(name, score, ours, theirs, answers, largest_p)
        return decide(ours, theirs, right_or_numbers, largest_p)

    return tracking.promote(store, challenger, judge)


def answered(project: Project, folder: Path) -> Answered | None:
    """The answers of the model in a folder to held-out; None if it knows other classes."""
    architecture, model = open_model(folder)
    classes = project.classes()
    if {*architecture.classes} != {*classes}:
        return None
    heldout = heldout_of(project, architecture)
    model = model.to(project.device())
    logits = predict(model, heldout, project.params.compute.eval_batch_size)
    if architecture.predicts_numbers:
        return Answered(numbers=Numbers(heldout.labels, logits[:, 0]))
    # In the order of this project's classes; the last is of examples without a prediction.
    order = np.array([*(classes.index(name) for name in architecture.classes), -1])
    answers = predicted(logits)
    return Answered(answers == heldout.labels, Answers(order[heldout.labels], order[answers]))


def _description(
    store: tracking.Store,
    soup: tracking.Tracked,
    cooked: Mapping[str, Any],
    metrics: Mapping[str, Any],
    names: Mapping[str, str],
) -> str:
    """Markdown that MLflow shows on the version's page, with links to where it came from."""

    def named(run: tracking.Tracked) -> str:
        # Relative, so that it works on whichever address the store is served from.
        page = f"#/experiments/{store.experiment_id}/runs/{run.run_id}"
        return f"[{run.name}]({page}?workflowType=machine_learning)"

    run_ids = parse_json(store.whole(soup.tags["ingredients"]), f"tag ingredients of {soup.name}")
    # MLflow's PostgreSQL holds 5,000 characters: 20 links of 110, and 30 rows.
    shown = [named(run) for run in store.get(run_ids[:LINKED])]
    ingredients = some([*shown, *run_ids[LINKED:]], LINKED, last=" ")
    rows = [
        f"| {split} | {score_text(names[split], m['best_single'])} "
        f"| {score_text(names[split], m['soup'])} | {100 * m['gain']:+.2f} |"
        for split, m in metrics.items()
    ]
    return (
        f"A {cooked['recipe']} soup of {ingredients}, cooked by {named(soup)}, "
        "which lists them in its artifact ingredients.json.\n\n"
        "| split | best single | soup | gain |\n|---|---|---|---|\n" + some(rows, ROWS, "\n") + "\n"
    )
