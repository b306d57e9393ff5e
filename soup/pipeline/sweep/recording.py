"""The run of a sweep in MLflow: its beginning, and whether what it recorded still holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from soup.config.params import Params
from soup.evaluation.score_text import ACCURACY
from soup.pipeline.project import Project, score_name
from soup.pipeline.sweep import imported_pool
from soup.pipeline.sweep.part import Part
from soup.tracking import DataSet, Store


def start_sweep(
    store: Store,
    params: Params,
    digest: str,
    tags: Mapping[str, str],
    data_sets: Sequence[DataSet] = (),
) -> str:
    """Begin the run of a sweep, with what was searched as its parameters; its id.

    Args:
        data_sets: that the sweep uses.
    """
    sweep, base = params.sweep, params.base
    kind, what = ("sweep", "fine-tunes") if sweep.imported is None else ("imported", "checkpoints")
    # Not how many: a larger sweep is the same run.
    searched = sweep.model_dump(
        mode="json", by_alias=True, exclude={"runs", "halving"}, exclude_none=True
    )
    settings = flat(searched) | {"base.model": base.model, "base.weights": base.weights}
    run_id = store.start(
        "sweep", digest, f"{kind} {digest[:8]}", tags, settings, data_sets=data_sets
    )
    store.describe(run_id, f"{sweep.runs} {what} of {base.model}, each of which is a run below.")
    return run_id


def flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Nested settings as one mapping, by names such as 'space.lr.min'."""
    named = {f"{within}{name}": value for name, value in values.items()}
    nested = {name: value for name, value in named.items() if isinstance(value, Mapping)}
    settings = {name: value for name, value in named.items() if name not in nested}
    for name, value in nested.items():
        settings |= flat(value, f"{name}.")
    return settings


def tell_unused(store: Store, parts: Iterable[Part], say: Callable[[str], None]) -> None:
    """Say how many finished ingredients the experiment has, if a new sweep can reuse none of them.

    Args:
        parts: of the new sweep.
    """
    wanted = {digest for part in parts for digest in part.digests.values()}
    finished = {
        digest: run
        for digest, run in store.finished().items()
        if run.tags["kind"] == "ingredient" and run.name != "probe"
    }
    if finished and not wanted & finished.keys():
        say(
            f"{len(finished)} finished ingredients of this experiment are not reused: code, base "
            "model, split or hyperparameters differ from those of this sweep"
        )


def still_valid(project: Project, record: Mapping[str, Any]) -> bool:
    """Whether a finished sweep's record still holds.

    It does not where a part was killed or its files are damaged, or where the imported folder or
    the score that soups are chosen by changed.
    """
    imported = project.params.sweep.imported is not None
    if imported and record.get("listing") != imported_pool.listing(project):
        return False
    # Another score may stop other fine-tunes, and name another best.
    if record.get("score", ACCURACY) != score_name(project.params):
        return False
    return not record.get("crashed") and project.store().all_finished(record["runs"].values())
