"""The end of a pipeline run: update dvc.lock, print the results and where to look next."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.settings import PREFECT_UI_URL

from flows.dvc_lock import METRICS, lock
from flows.project import Record, console, default_params, open_project, root
from flows.server import temporary
from flows.time_spent import time_spent
from soup.config.params import Params
from soup.evaluation.score_text import ACCURACY
from soup.pipeline.stage_record import read_record
from soup.terminal.tables import Row, fitting

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {"heldout": "held-out", "shifts": "mean of shifts"}  # split -> its name in a table
WHOSE = ("locked", "yours")


def commit_to_dvc(params: Params) -> None:
    """Record the results of params.yaml in `dvc.lock`, or show them beside those it has."""
    if not (root() / ".dvc").is_dir() or params != default_params():
        return
    metrics = open_project(params).out / "metrics.json"
    told = lock(root(), metrics)
    if told:
        console().print(told, style="yellow", soft_wrap=True)
    if (root() / METRICS).is_file():
        _beside(read_record(root() / METRICS), read_record(metrics))


def _beside(locked: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Print the locked and the own metrics side by side, if they differ."""
    splits = [s for s in ("heldout", "test", "shifts") if s in locked and s in own]
    columns = [f"{SHOWN.get(split, split)}: {whose}" for split in splits for whose in WHOSE]
    both = [result[split] for split in splits for result in (locked, own)]
    rows = [
        Row("best single", [f"{100 * (m['soup'] - m['gain']):.2f}" for m in both]),
        *(Row(name, [f"{100 * m[name]:.2f}" for m in both]) for name in ("soup", "gain")),
    ]
    if locked != own:
        _print("the result in dvc.lock and yours, %", columns, rows)


def _row(name: str, scores: "pd.Series", splits: list[str], style: str = "") -> Row:
    shown = ["—" if math.isnan(scores[s]) else f"{100 * scores[s]:.2f}" for s in splits]
    return Row(name, shown, style)


def _print(title: str, columns: list[str], rows: list[Row]) -> None:
    console().print()
    for table in fitting(title, columns, rows, console().width):
        console().print(table)


def summary(params: Params, records: Mapping[str, Record], seconds: float) -> None:
    """Print the result table, what it took and where to look.

    Args:
        seconds: that this run took; the records have those of the runs that they are of.
    """
    import pandas as pd

    results = pd.read_csv(open_project(params).out / "results.csv")
    splits = list(dict.fromkeys(results["split"]))
    soup, rows = records["cook"]["recipe"], []
    single = results["kind"] == "ingredient"
    score = records["cook"].get("score", ACCURACY)
    medians = results[single].groupby("split")[score].median()
    for (kind, model), of_model in results[~single].groupby(["kind", "model"], sort=False):
        scores = of_model.set_index("split")[score]
        if kind == "best single" and len(medians):
            rows.append(_row("median ingredient", medians, splits))
        rows.append(_row(str(model), scores, splits, "bold" if kind == soup else ""))
    columns = [SHOWN.get(split, split) for split in splits]
    what = "accuracy, %" if score == ACCURACY else f"{score}, times 100"
    _print(f"{params.experiment}: {what}", columns, rows)
    kept = records["cook"]["kept"]
    wrapped: dict[str, Any] = {"soft_wrap": not console().is_terminal}
    console().print(f"The {soup} soup averages {len(kept)}: {', '.join(kept)}", **wrapped)
    tests = pd.read_csv(open_project(params).out / "tests.csv").set_index("split")
    # Of predicted numbers there is one score, whose columns have no name before them.
    of_score = f"{score}_" if f"{score}_difference" in tests else ""
    known = tests.index[tests[f"{of_score}difference"].notna()]
    for split in [s for s in ("test", "shifts") if s in known]:
        figures = [f"{of_score}{name}" for name in ("difference", "low", "high")]
        difference, low, high = (100 * tests.loc[split, name] for name in figures)
        p = tests.loc[split, f"{score}_p" if of_score else "p_value"]
        console().print(
            f"  {split:7}{difference:+.2f} points over the best single model, "
            f"{params.evaluate.confidence:.0%} interval {low:+.2f} to {high:+.2f}, p = {p:.2g}",
            **wrapped,
        )
        if split in medians.index:
            of_soup = results.loc[(results["kind"] == soup) & (results["split"] == split)]
            gain = 100 * (float(of_soup[score].iloc[0]) - medians[split])
            console().print(f"         {gain:+.2f} over the median ingredient", **wrapped)
    time_spent.show(console())
    registered = records["register"]
    stages = sum(record["seconds"] for record in records.values())
    before = "" if seconds > 0.9 * stages else f"; its stages, when they ran, {stages:.0f} s"
    console().print(
        f"\nRegistered as {registered['model']} version {registered['version']}. "
        f"This run took {seconds:.0f} s{before}.\n",
        **wrapped,
    )
    for what, where in _hints(params).items():
        console().print(f"{what:10} {where}", **wrapped)


def _hints(params: Params) -> dict[str, str]:
    """Where to look, and what to do next."""
    mlflow = open_project(params).store().page()
    pages = {"MLflow": mlflow, "Prefect": "" if temporary.used else PREFECT_UI_URL.value() or ""}
    here = " and ".join(name for name, page in pages.items() if not page)
    watch = [page for page in pages.values() if page]
    watch += [f"make ui            ({here} in the browser)"] if here else []
    hints = {"Look at": f"out/{params.experiment}/report.html", "Watch": ", ".join(watch)}
    if params == default_params():
        return hints | {
            "Reproduce": "make repro         (dvc repro: only what changed is run)",
            "Change": "params.yaml        (then make demo again: only what changed is redone)",
        }
    return hints | {"Change": "its parameters, and run it again: only what changed is redone"}
