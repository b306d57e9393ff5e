"""The end of a pipeline run: update dvc.lock, print the results and where to look next."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from flows.dvc_lock import METRICS, lock
from flows.project import Record, console, default_params, open_project, root
from soup.config.params import Params


def commit_to_dvc(params: Params) -> None:
    """Record the results of params.yaml in `dvc.lock`, or show them beside those it has."""
    if not (root() / ".dvc").is_dir() or params != default_params():
        return
    metrics = open_project(params).out / "metrics.json"
    told = lock(root(), metrics)
    if told:
        console().print(told, style="yellow", soft_wrap=True)
    if (root() / METRICS).is_file():
        _beside(json.loads((root() / METRICS).read_text()), json.loads(metrics.read_text()))


def _beside(locked: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Print the locked and the own metrics side by side, if they differ."""
    table = Table(title="\nthe result in dvc.lock and yours, %", title_justify="left")
    for column in ("", *(f"{split}: {whose}" for split in own for whose in ("locked", "yours"))):
        table.add_column(column, justify="right" if column else "left")
    splits = [split for split in own if split in locked]
    for figure in ("best_single", "median_ingredient", "soup", "gain"):
        cells = [f"{100 * m[s].get(figure, math.nan):.2f}" for s in splits for m in (locked, own)]
        table.add_row(figure.replace("_", " "), *cells)
    if locked != own:
        console().print(table)


def summary(params: Params, records: Mapping[str, Record]) -> None:
    """Print the result table, what it took and where to look."""
    results = pd.read_csv(open_project(params).out / "results.csv")
    splits = list(dict.fromkeys(results["split"]))
    table = Table(title=f"\n{params.experiment}: accuracy, %", title_justify="left")
    table.add_column("")
    for split in splits:
        table.add_column("mean of shifts" if split == "shifts" else split, justify="right")
    soup = records["cook"]["recipe"]
    compared = results[results["kind"] != "ingredient"]
    for (kind, model), rows in compared.groupby(["kind", "model"], sort=False):
        scores = rows.set_index("split")["accuracy"]
        style = "bold" if kind == soup else ""
        table.add_row(model, *(f"{100 * scores[s]:.2f}" for s in splits), style=style)
    console().print(table)
    kept = records["cook"]["kept"]
    console().print(f"The {soup} soup averages {len(kept)}: {', '.join(kept)}", soft_wrap=True)
    tests = pd.read_csv(open_project(params).out / "tests.csv").set_index("split")
    for split in [s for s in ("test", "shifts") if s in tests.index]:
        row = tests.loc[split]
        console().print(
            f"  {split:7}{100 * row['difference']:+.2f} points over the best single model, "
            f"{params.evaluate.confidence:.0%} interval {100 * row['low']:+.2f} to "
            f"{100 * row['high']:+.2f}, p = {row['p_value']:.2g}",
            soft_wrap=True,
        )
    registered = records["register"]
    took = sum(record["seconds"] for record in records.values())
    console().print(
        f"\nRegistered as {registered['model']} version {registered['version']}. "
        f"The stages took {took:.0f} s.\n\n"
        f"Look at    out/{params.experiment}/report.html\n"
        "Watch      make ui            (MLflow and Prefect in the browser)\n"
        "Reproduce  make repro         (dvc repro: only what changed is run)\n"
        "Change     params.yaml        (then make demo again: only what changed is redone)"
    )
