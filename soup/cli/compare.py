"""soup compare: models side by side on labelled images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from soup.cli.checkpoints import open_pool
from soup.cli.heldout_folder import open_evaluator
from soup.cli.terminal import percent, print_json, progress, table
from soup.evaluation.metrics import bootstrap, correct, mcnemar


def compare(
    models: Sequence[str],
    on: Sequence[Path],
    model: str | None,
    devices: Sequence[str],
    batch_size: int,
    as_json: bool,
) -> None:
    """Each model may be of another architecture, where its file or folder says which."""
    with progress("reading", len(models)) as advance:
        pool = open_pool(models, advance)
    result: dict[str, list[dict[str, object]]] = {}
    for folder in on:
        answers: dict[str, np.ndarray] = {}
        with progress(f"judging on {folder}", None) as advance:
            for name, checkpoint in pool.checkpoints.items():
                exam = open_evaluator(folder, model, checkpoint, devices, batch_size, advance)
                answers[name] = correct(exam.logits(checkpoint), exam.examples.labels)
        first = next(iter(answers.values()))
        result[str(folder)] = [
            {
                "model": name,
                "accuracy": float(right.mean()),
                "interval": list(bootstrap([right.astype(float)], 10_000, 0.95, seed=0)),
                "difference": float(right.mean() - first.mean()),
                "p": mcnemar(right, first),
            }
            for name, right in answers.items()
        ]
        if not as_json:
            _show(f"{folder}, {len(first)} images", result[str(folder)])
    if as_json:
        print_json(result)


def _show(title: str, found: Sequence[dict[str, object]]) -> None:
    rows = []
    for place, one in enumerate(found):
        low, high = (percent(float(x)) for x in one["interval"])  # type: ignore[attr-defined]
        against = (
            ("", "")
            if place == 0
            else (f"{100 * float(str(one['difference'])):+.2f}", f"{float(str(one['p'])):.2g}")
        )
        accuracy = percent(float(str(one["accuracy"])))
        rows.append((one["model"], accuracy, f"{low} to {high}", *against))
    columns = ["model", ">accuracy, %", ">95% interval", ">against the first", ">p (McNemar)"]
    table(title, columns, rows)
