"""register: the soup -> a version of a registered model, and the champion if it is better."""

import math
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
ROWS = 20  # splits there
NEXT = "\n"
REPORT = "/artifacts/report.html"  # which the stage `report` writes


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
    confidence = project.params.evaluate.confidence
    description, whole = _description(store, soup, cooked, metrics, names, confidence)
    store.describe(soup.run_id, description, whole)
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
        return decide(ours, theirs, right_or_numbers, largest_p, name)

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
    confidence: float,
) -> tuple[str, str]:
    """Markdown that MLflow shows on the pages of the soup's run and of its version, and the same
    with all that is left out there.

    MLflow's PostgreSQL holds 5,000 characters: 20 ingredients of 140, and 20 splits of 80.
    """
    run_ids = parse_json(store.whole(soup.tags["ingredients"]), f"tag ingredients of {soup.name}")
    kept, heldout = store.get(run_ids), names.get("heldout", ACCURACY)
    first = {split: place for place, split in enumerate(("heldout", "test", "shifts"))}
    ordered = sorted(metrics, key=lambda split: first.get(split, len(first)))  # stable
    splits = [_split_row(split, metrics[split], names[split]) for split in ordered]
    ingredients = [
        f"| {_linked(store, run)} "
        f"| {score_text(heldout, run.metrics.get(f'heldout/{heldout}', math.nan))} |"
        for run in kept
    ]

    def text(rows: int, linked: int) -> str:
        return (
            f"A {cooked['recipe']} soup of {len(kept)} ingredients, cooked by "
            f"{_linked(store, soup)}, with its {_linked(store, soup, 'report', REPORT)}.\n\n"
            f"| split | best single | soup | gain ({confidence:.0%} interval) |\n"
            f"|---|---|---|---|\n{some(splits, rows, NEXT)}\n\n"
            "Its ingredients:\n\n"
            f"| ingredient | held-out |\n|---|---|\n{some(ingredients, linked, NEXT)}\n"
        )

    return text(ROWS, LINKED), text(len(splits), len(ingredients))


def _split_row(split: str, figures: Mapping[str, Any], name: str) -> str:
    """A row of scores in percent, and of their difference with its interval."""
    gain = f"{100 * figures['gain']:+.2f}"
    if "gain_low" in figures:
        gain += f" ({100 * figures['gain_low']:+.2f} to {100 * figures['gain_high']:+.2f})"
    scores = (score_text(name, figures[which]) for which in ("best_single", "soup"))
    return f"| {split} | {' | '.join(scores)} | {gain} |"


def _linked(store: tracking.Store, run: tracking.Tracked, name: str = "", within: str = "") -> str:
    """A link to a run, or to something within it; relative, for whichever address serves it."""
    page = f"#/experiments/{store.experiment_id}/runs/{run.run_id}{within}"
    return f"[{name or run.name}]({page}?workflowType=machine_learning)"
