"""soup compare: models side by side on labelled images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soup.cli.model_options import ModelOptions, tell_input, with_model
from soup.cli.options import BatchSize, Device, Json, Models, devices

if TYPE_CHECKING:
    from soup.models.by_name import Resolved

SAMPLES = 10_000  # of the bootstrap


@with_model
def compare(
    models: Models,
    on: Annotated[
        list[Path],
        typer.Option(
            metavar="FOLDER",
            help="Labelled images, FOLDER/<class>/<image>, or a table of texts; may be repeated.",
        ),
    ],
    model: ModelOptions,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    as_json: Json = False,
) -> None:
    """Compare the accuracy of models on labelled images, with intervals and tests.

    soup compare A B --on test --on shifted

    The test is the exact McNemar test of each model against the first. Models may be of different
    architectures, where their files or folders say which.
    """
    from soup.cli.checkpoints import open_pool
    from soup.cli.heldout_folder import logits_of, open_evaluator
    from soup.cli.number_quality import compared_numbers, show_compared
    from soup.cli.terminal import print_json, progress, tell_left_out, warn
    from soup.errors import BadInput
    from soup.evaluation.diagnosis.low_scores import Answers, low_scores, recorded
    from soup.evaluation.metrics import (
        Correct,
        Labels,
        Logits,
        accuracy_interval,
        correct,
        mcnemar,
        predicted,
    )

    chosen = devices(device)
    pool = open_pool(models)
    result: dict[str, list[dict[str, Any]]] = {}
    told: list[str] = []

    def tell(resolved: "Resolved") -> None:
        if not as_json and str(resolved) not in told:
            tell_input({}, resolved)
        told.append(str(resolved))

    for folder in on:
        correct_of: dict[str, Correct] = {}
        outputs: dict[str, Logits] = {}  # of models that predict numbers
        # Models may have their classes in different orders, and so different labels.
        answers: dict[tuple[str, ...], tuple[Labels, dict[str, Answers]]] = {}
        for name, checkpoint in pool.checkpoints.items():
            evaluator = open_evaluator(folder, model, checkpoint, chosen, batch_size, as_json, tell)
            if not correct_of and not outputs:  # what is left out is the same for all models
                tell_left_out(evaluator.skipped)
            with progress(name, len(evaluator), evaluator.architecture.unit) as advance:
                watched = replace(evaluator, advance=advance)
                logits = logits_of(watched, checkpoint, pool.digests[name])
            labels, classes = evaluator.examples.labels, evaluator.architecture.classes
            if evaluator.predicts_numbers:
                outputs[name] = logits
                continue
            correct_of[name] = correct(logits, labels)
            said = Answers(predicted(logits), recorded(checkpoint.metadata))
            answers.setdefault(classes, (labels, {}))[1][name] = said
        if outputs and correct_of:
            raise BadInput(
                f"{next(iter(outputs))} predicts numbers and {next(iter(correct_of))} classes: "
                "they cannot be compared"
            )
        if outputs:
            used = told[-len(outputs) :]
            result[str(folder)] = compared_numbers(outputs, labels, used)
            if not as_json:
                show_compared(f"{folder}, {len(labels)} texts", result[str(folder)])
            continue
        for classes, (labels, group) in answers.items():
            for line in low_scores(group, labels, classes):
                warn(f"{folder}: {line}")
        first = next(iter(correct_of.values()))
        result[str(folder)] = [
            {
                "model": name,
                "accuracy": float(right.mean()),
                "interval": list(accuracy_interval([right], SAMPLES, 0.95, seed=0)),
                "difference": float(right.mean() - first.mean()),
                "p": mcnemar(right, first),
                "input": used,
            }
            for (name, right), used in zip(
                correct_of.items(), told[-len(correct_of) :], strict=True
            )
        ]
        if not as_json:
            unit = evaluator.architecture.unit
            _show(f"{folder}, {len(first)} {unit}", result[str(folder)])
    if as_json:
        print_json(result)


def _show(title: str, compared: Sequence[dict[str, Any]]) -> None:
    from soup.cli.terminal import percent, table

    rows = []
    for index, model in enumerate(compared):
        low, high = map(percent, model["interval"])
        difference = f"{100 * model['difference']:+.2f}" if index else ""
        p = f"{model['p']:.2g}" if index else ""
        accuracy = percent(model["accuracy"])
        rows.append((model["model"], accuracy, f"{low} to {high}", difference, p))
    columns = ["model", ">accuracy, %", ">95% interval", ">against the first", ">p (McNemar)"]
    table(title, columns, rows)
