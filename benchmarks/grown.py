"""A store grown from one real sweep: its ingredient's rows, many times over, each with its own ids.

The ingredient is made by the code that makes all of them; what is multiplied are the rows that it
left in each of MLflow's tables, so that a generated run lacks nothing that a real one has. Written
through the API, ten thousand of them would take an hour.
"""

import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import torch
from mlflow.store.tracking.dbmodels import models as tables

from soup.evaluation import prediction_file
from soup.evaluation.heldout import Result
from soup.pipeline.sweep.ingredient_runs import IngredientRuns
from soup.tracking import Store
from soup.weights.checkpoint import save

EXAMPLES, CLASSES = 2000, 10
STEPS, EVERY = 345, 10  # as the embedded demo's
SHIFTS = ("v2", "sketch", "r", "objectnet", "a")
PARAMS = {
    "lr": 0.0055,
    "weight_decay": 0.006,
    "epochs": 15,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "augment": "none",
    "layer_decay": 1.0,
    "drop_path": 0.0,
    "sam": 0.0,
    "seed": 1,
}
OF_RUN = [
    one.__table__
    for one in (
        tables.SqlRun,
        tables.SqlTag,
        tables.SqlParam,
        tables.SqlMetric,
        tables.SqlLatestMetric,
    )
]
MODELS, MODEL_TAGS, LINKS = (
    one.__table__ for one in (tables.SqlLoggedModel, tables.SqlLoggedModelTag, tables.SqlInput)
)
PLACES = {"artifact_uri", "artifact_location"}
Row = dict[str, Any]
Rows = dict[sa.Table, list[Row]]


@dataclass(frozen=True)
class Grown:
    """A sweep in the store: its parent run, and its ingredients' run ids and digests."""

    parent: str
    run_ids: tuple[str, ...]
    digests: tuple[str, ...]


def plant(store: Store, folder: Path) -> tuple[str, str]:
    """A sweep of one ingredient, as the pipeline leaves it; the two run ids."""
    shared = {
        name: 64 * digit for name, digit in zip(("base", "split", "sweep"), "abc", strict=True)
    }
    shared |= {"commit": 40 * "d", "dvc.development.csv": 32 * "e", "flow_run": str(uuid.uuid4())}
    parent = store.start("sweep", "seed", "sweep seed", shared)
    run_id = store.start("ingredient", "0", "ft-000", shared, PARAMS, parent)
    for step in range(0, STEPS, EVERY):
        store.log(run_id, step, {"train/loss": 1 / (1 + step), "train/lr": 0.005})
    rng = np.random.default_rng(0)
    result = Result(EXAMPLES // 2, EXAMPLES, folder)
    save({"head.weight": torch.randn(CLASSES, 8)}, result.weights)
    (folder / "model.json").write_text("{}")
    prediction_file.write(
        result.predictions, rng.normal(size=(EXAMPLES, CLASSES)), rng.random(EXAMPLES) < 0.5
    )
    IngredientRuns(store, parent, shared).keep(run_id, "ft-000", result, {}, STEPS)
    splits = ("test", *(f"shift/{name}" for name in SHIFTS))
    scores = {f"{s}/{figure}": 0.5 for s in splits for figure in ("accuracy", "nll", "ece")}
    store.log(run_id, 0, scores | {"shifts/accuracy": 0.5, "heldout/nll": 1.0, "heldout/ece": 0.1})
    store.end(parent)
    return parent, run_id


def grow(database: str, planted: tuple[str, str], sweeps: int, each: int) -> list[Grown]:
    """Multiply the ingredient and its sweep.

    Args:
        database: SQLAlchemy's address of the store.
        planted: what `plant` returned.
        each: ingredients of every sweep.
    """
    engine = sa.create_engine(database)
    rng = np.random.default_rng(1)
    with engine.begin() as connection:
        templates = [_rows(connection, run_id) for run_id in planted]
        grown = [_sweep(connection, templates, planted, each, rng) for _ in range(sweeps)]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))  # as autovacuum would soon
    engine.dispose()
    return grown


def folders(store: Store, sweep: Grown, artifacts: Path) -> None:
    """Files for every ingredient of a sweep, where MLflow would have put them.

    Args:
        artifacts: the folder that holds the experiment's.
    """
    (source,) = (artifacts / "models").glob("*/artifacts")
    for run in store.get(sweep.run_ids):
        shutil.copytree(source, artifacts / "models" / run.model_id / "artifacts")


def _sweep(
    connection: sa.Connection,
    templates: Sequence[Rows],
    planted: tuple[str, str],
    each: int,
    rng: np.random.Generator,
) -> Grown:
    batch: Rows = defaultdict(list)
    parent = uuid.uuid4().hex
    _copy(batch, templates[0], {planted[0]: parent}, {"soup.digest": uuid.uuid4().hex})
    run_ids, digests = [], []
    for index in range(each):
        run_id, digest = uuid.uuid4().hex, f"{uuid.uuid4().hex}{uuid.uuid4().hex}"
        errors = float(rng.integers(EXAMPLES // 4, EXAMPLES // 2))  # with many ties
        values = {
            "name": f"ft-{index:03d}",
            "mlflow.runName": f"ft-{index:03d}",
            "soup.digest": digest,
            "heldout/errors": errors,
            "heldout/accuracy": 1 - errors / EXAMPLES,
            "lr": f"{np.exp(rng.uniform(-12, -4)):.6g}",
            "epochs": str(rng.integers(4, 17)),
            "seed": str(rng.integers(2**31)),
        }
        _copy(batch, templates[1], {planted[0]: parent, planted[1]: run_id}, values)
        run_ids.append(run_id)
        digests.append(digest)
    for table, rows in batch.items():
        if rows:
            connection.execute(table.insert(), rows)
    return Grown(parent, tuple(run_ids), tuple(digests))


def _rows(connection: sa.Connection, run_id: str) -> Rows:
    """All that the store holds of a run, by table."""
    own = {
        table: [dict(row) for row in connection.execute(sa.select(table).where(where)).mappings()]
        for table, where in (
            *((table, table.c.run_uuid == run_id) for table in OF_RUN),
            (MODELS, MODELS.c.source_run_id == run_id),
            (LINKS, LINKS.c.source_id == run_id),
        )
    }
    ids = [row["model_id"] for row in own[MODELS]]
    tags = sa.select(MODEL_TAGS).where(MODEL_TAGS.c.model_id.in_(ids))
    return own | {MODEL_TAGS: [dict(row) for row in connection.execute(tags).mappings()]}


def _copy(batch: Rows, template: Rows, ids: dict[str, str], values: dict[str, Any]) -> None:
    """Add rows with other ids, and with values by the name of their key (or, in runs, column)."""
    ids = ids | {row["model_id"]: f"m-{uuid.uuid4().hex}" for row in template[MODELS]}
    ids |= {row["input_uuid"]: uuid.uuid4().hex for row in template[LINKS]}

    def changed(row: Row) -> Row:
        new = {name: ids.get(v, v) if isinstance(v, str) else v for name, v in row.items()}
        for place in PLACES & new.keys():
            new[place] = re.sub("|".join(ids), lambda found: ids[found.group()], new[place])
        if row.get("key") in values:
            new["value"] = values[row["key"]]
        return new | {"name": values["name"]} if "name" in row and "name" in values else new

    for table, rows in template.items():
        batch[table] += map(changed, rows)
