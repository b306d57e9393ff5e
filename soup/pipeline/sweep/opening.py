"""The opening of a sweep: its run in MLflow, its parts, and which of these are finished."""

import shutil
from collections.abc import Mapping
from numbers import Real
from typing import Any

from soup.evaluation.heldout import result_from
from soup.files import of_file, of_value
from soup.models import DESCRIPTION_FILE
from soup.pipeline.data_sets import development_sets
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.sweep import imported_pool
from soup.pipeline.sweep.fine_tunes import fine_tunes
from soup.pipeline.sweep.heldout_score import HeldoutScore
from soup.pipeline.sweep.ingredient_runs import IngredientRuns
from soup.pipeline.sweep.part import Part
from soup.pipeline.sweep.recording import start_sweep, tell_unused
from soup.pipeline.sweep.sweep import Sweep
from soup.weights.shards import WEIGHTS_FILE


def open_sweep(project: Project, code: str, threads: int) -> Sweep:
    """Find or make the parent run, and lay out the parts.

    Args:
        code: digest of the source files that an ingredient depends on.
        threads: CPU threads of each fine-tune.

    Raises:
        TrackingError: MLflow does not answer.
        ParamsError: the search space has fewer points than runs.
        BadInput: checkpoints to import are missing or do not fit; all that is wrong is listed.
    """
    settings, start = project.params.sweep, project.out / "probe"
    shared = {
        "code": code,
        "base": of_file(start / WEIGHTS_FILE),
        "model": of_file(start / DESCRIPTION_FILE),
        "split": of_file(project.development),
    }
    imported = settings.imported is not None
    score = HeldoutScore.of(project)
    parts: Mapping[str, Part]
    if imported:
        parts = imported_pool.checkpoints(project, shared)
        identity: dict[str, Any] = {"import": {name: p.digest for name, p in parts.items()}}
    else:
        parts = fine_tunes(project, shared, threads, score)
        # Not how many runs there are, nor which of them are stopped: that changes none. What is
        # off leaves the digests from before it was an option.
        off = set() if settings.frozen_batchnorm else {"frozen_batchnorm"}
        told = settings.model_dump(mode="json", exclude={"runs", "halving"} | off)
        identity = {"settings": told}
    digest = of_value({"sweep": shared, **identity})
    store = project.store()
    tags = project.lineage() | {"sweep": digest}
    tags |= {key: shared[key] for key in ("base", "model", "split")}
    known = store.find(digest)
    used = development_sets(project)
    run_id = known.run_id if known else start_sweep(store, project.params, digest, tags, used)
    probed = read_record(project.out / "probe.json", errors=Real, examples=int)
    stored = store.finished(run_id)
    if known is None:
        tell_unused(store, parts.values(), project.say)
    finished: dict[str, dict[str, str]] = {}
    for name, part in parts.items():
        if part.digest in stored:  # stored last: if it is there, so are its averages
            finished[name] = {
                shown: stored[d].run_id for shown, d in part.digests.items() if d in stored
            }
            shutil.rmtree(part.folder, ignore_errors=True)
    listing = imported_pool.listing(project) if imported else ""
    probe = result_from(probed, start)
    cache = project.cache / "models"
    runs = IngredientRuns(store, run_id, tags, score, used)
    return Sweep(store, run_id, parts, finished, imported, listing, score, runs, cache, probe)
