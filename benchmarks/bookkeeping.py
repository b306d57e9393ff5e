"""What a store of ten thousand runs costs: ranking, reading, opening a sweep again, the report.

    .venv/bin/python -m benchmarks.bookkeeping

Grows ten sweeps of a thousand ingredients each from a real one, in a PostgreSQL that it starts
(Debian's `postgresql` is enough; or --database), and in SQLite; and asks the same of each, and of
an MLflow server over the PostgreSQL. The peer is `mlflow.search_runs`, which fills a data frame.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
import mlflow
import numpy as np
import pandas as pd

from benchmarks import grown
from benchmarks.machine import machine
from soup.evaluation.metrics import Logits
from soup.evaluation.result_tables import Model, Resampling, paired, table
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import among_present
from soup.pipeline.stages.report import _ingredients
from soup.report.page import Report, page
from soup.tracking import Store, ingredients
from tests.servers import MlflowServer, postgres, running

FINDS = 100
SHIFTS = ("v2", "sketch")


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """The least of several times."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def asked(
    store: Store, sweeps: Sequence[grown.Grown], cache: Path, whole: bool
) -> dict[str, float]:
    """Question -> seconds.

    Args:
        cache: where a server's files are downloaded to.
        whole: ask the peer for all runs, too.
    """
    one = sweeps[len(sweeps) // 2]
    runs = {f"{n}-{i}": run for n, s in enumerate(sweeps) for i, run in enumerate(s.run_ids)}
    sweep = {f"{index}": run for index, run in enumerate(one.run_ids)}
    parent = f"tags.`mlflow.parentRunId` = '{one.parent}'"
    every, some = f"{len(runs):,}", f"{len(sweep):,}"

    def peer(query: str, most: int) -> None:
        mlflow.search_runs(
            [store.experiment_id], query, max_results=most, order_by=["metrics.`heldout/errors`"]
        )

    def finds() -> None:
        for digest in one.digests[:FINDS]:
            assert store.find(digest) is not None

    mlflow.set_tracking_uri(store.uri)
    taken = {
        f"rank {every} runs": seconds(lambda: store.ranking(runs)),
        f"rank {some} of them": seconds(lambda: store.ranking(sweep)),
        f"rank {some}, whole runs": seconds(lambda: store.ranked(one.run_ids), 2),
        f"peer: rank {some}": seconds(lambda: peer(parent, 1000), 2),
    }
    if whole:
        kind = "tags.`soup.kind` = 'ingredient'"
        taken[f"peer: rank {every}"] = seconds(lambda: peer(kind, 50_000), 1)
    taken |= {
        "find one digest": seconds(finds, 1) / FINDS,
        f"open a sweep, {some} finished": seconds(lambda: store.finished(one.parent), 2),
        "first page of MLflow's runs": seconds(
            lambda: store.client.search_runs(
                [store.experiment_id], max_results=100, order_by=["attributes.start_time DESC"]
            )
        ),
    }
    if store.uri.startswith("postgresql"):
        return taken  # its files are the server's
    read = f"the cook reads {some}"
    taken[read] = seconds(lambda: ingredients(store, one.run_ids, cache), 1)
    taken[f"{read} again"] = seconds(lambda: ingredients(store, one.run_ids, cache), 1)
    return taken


def browsed(store: Store) -> dict[str, float]:
    """Seconds until MLflow's page of runs shows the first sweeps, in Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    training = "?workflowType=machine_learning"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(45_000)

        def opened() -> None:
            path = f"experiments/{store.experiment_id}/runs{training}"
            page.goto("about:blank")
            page.goto(f"{store.uri}/{training}#/{path}")
            page.get_by_text("sweep seed").first.wait_for()  # its fine-tunes are folded

        taken = {"MLflow's page of runs, in a browser": seconds(opened)}
        browser.close()
    return taken


def report(store: Store, sweep: grown.Grown) -> tuple[pd.DataFrame, str]:
    """A table of what evaluate and report take, and the page."""
    rng = np.random.default_rng(0)
    names = [f"ft-{index:03d}" for index in range(len(sweep.run_ids))]
    labels = rng.integers(grown.CLASSES, size=grown.EXAMPLES)
    keys = {split: among_present(split, labels) for split in ("heldout", "test", *SHIFTS)}
    right = 3 * np.eye(grown.CLASSES, dtype=np.float32)[labels]

    kinds = dict.fromkeys(names, "ingredient")
    kinds |= {kind: kind for kind in ("best single", "uniform", "greedy", "ensemble")}

    def logits(*_: str) -> Logits:
        return right + 2 * rng.normal(size=right.shape).astype(np.float32)

    def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
        scores = score_splits([*kinds], {}, keys, logits, bins=15)
        models = {name: Model(name, kind, scores[name]) for name, kind in kinds.items()}
        soup, single = models["greedy"], models["best single"]
        resampling = Resampling(resamples=1000, confidence=0.95, seed=0)
        tests = paired(soup, single, SHIFTS, resampling)
        return table([*models.values()], SHIFTS, resampling), tests

    rows: dict[str, float] = {}

    def step(what: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = work()
        rows[what] = time.perf_counter() - start
        return made

    results, tests = step(f"evaluate's tables, {len(keys)} splits", tables)
    runs = {"runs": dict(zip(names, sweep.run_ids, strict=True)), "failed": {}}
    kept = names[::20]
    frame = step("read its runs", lambda: _ingredients(store, runs, kept))
    errors = np.sort(rng.integers(300, 500, len(names)))[::-1].astype(float)
    early = rng.random(len(names)) < 0.8
    trace = pd.DataFrame({"step": range(len(names)), "name": names, "heldout_errors": errors})
    trace = trace.assign(
        kept=[name in set(kept) for name in names], at_most=np.append(np.nan, errors[:-1])
    )
    trace["heldout_errors"] = trace["heldout_errors"].where(trace["kept"] | ~early)
    trace["examples_seen"], trace["heldout_n"] = np.where(early, 512, 2000), grown.EXAMPLES
    parts = Report("Grown", "greedy", results, frame, trace, tests, {}, {"finetune": 1.0})
    text: str = step("draw the page", lambda: page(parts))
    rows["size of the page, MB"] = len(text.encode()) / 1e6
    return pd.DataFrame(rows.items(), columns=[f"report of {len(names):,}", "seconds"]), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", help="of a PostgreSQL to fill; default: one of its own")
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--each", type=int, default=1000, help="ingredients of a sweep")
    parser.add_argument("--page", type=Path, help="where to write the report's page")
    arguments = parser.parse_args()
    print(machine())
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookkeeping-")))

        def filled(store: Store, database: str, artifacts: Path) -> list[grown.Grown]:
            first = artifacts.with_name(f"{artifacts.name}-first")
            first.mkdir(parents=True)
            planted = grown.plant(store, first)
            sweeps = grown.grow(database, planted, arguments.sweeps, arguments.each)
            kept = artifacts / ("shapes" if store.uri == database else store.experiment_id)
            grown.folders(store, sweeps[len(sweeps) // 2], kept)
            return sweeps

        lite = Store(f"sqlite:///{root}/mlflow.db", "shapes", root / "lite")
        sweeps = filled(lite, lite.uri, root / "lite")
        found["SQLite"] = asked(lite, sweeps, root / "cache", whole=False)
        shown, text = report(lite, sweeps[0])
        database = arguments.database or stack.enter_context(postgres()).address
        server = MlflowServer(
            root / "server", database=database, artifacts=str(root / "served"), workers=2
        )
        stack.enter_context(running(server))
        served = Store(server.address, "shapes", root / "unused")
        sweeps = filled(served, database, root / "served")
        straight = Store(database, "shapes", root / "unused")
        found["PostgreSQL"] = asked(straight, sweeps, root / "cache", whole=True)
        found["server on PostgreSQL"] = asked(served, sweeps, root / "cache", whole=False)
        if arguments.page:
            arguments.page.write_text(text)
        order = max(found.values(), key=len)
        print("\nseconds")
        print(pd.DataFrame(found).reindex(list(dict.fromkeys([*found["PostgreSQL"], *order])))
              .to_markdown(floatfmt=".3f"))  # fmt: skip
        print()
        print(shown.to_markdown(index=False, floatfmt=".2f"))
        for what, taken in browsed(served).items():
            print(f"\n{what}: {taken:.1f} s")


if __name__ == "__main__":
    main()
