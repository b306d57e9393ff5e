"""The end of a pipeline run: update dvc.lock, print the results and where to look next."""

import subprocess
import sys
from collections.abc import Mapping

import pandas as pd
from rich.table import Table

from flows.project import Record, console, default_params, open_project, root
from soup.config.params import Params


def commit_to_dvc(params: Params) -> None:
    """Record the results in `dvc.lock`: `dvc status` is clean after a run of params.yaml."""
    if not (root() / ".dvc").is_dir() or params != default_params():
        return
    command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet"]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True, check=False)
    if done.returncode:
        console().print(f"dvc commit failed: {done.stderr.strip()}", style="yellow", soft_wrap=True)


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
        "Reproduce  make repro         (dvc repro: nothing to do until something changes)\n"
        "Change     params.yaml        (then make demo again: only what changed is redone)"
    )
