"""soup cook --mlflow: the soup as a run, with what it was made from."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup.files import of_file, of_value
from soup.models import Architecture, ModelError, write_description
from soup.models.stored_description import NOTE
from soup.tracking import WEIGHTS_DIGEST, Store, runs_end_with_block, save_pyfunc
from soup.weights.shards import WEIGHTS_FILE


def require(uri: str, experiment: str) -> None:
    """Check, before anything is cooked, that the soup can be logged.

    Raises:
        TrackingError: MLflow does not answer, or the experiment was deleted in it.
    """
    Store(uri, experiment, Path("mlruns"))


@runs_end_with_block()
def log(uri: str, experiment: str, out: Path, notes: Mapping[str, str], report: Any) -> str:
    """Log the soup: its lineage as tags, its metrics, its report, and its weights as a model.

    A soup that is logged already, of the same candidates by the same options, is not logged again.

    Args:
        uri: of MLflow's server or database.
        notes: the metadata of the soup's file.
        report: what `soup cook --json` prints.

    Returns:
        The id of the run.

    Raises:
        Failure: MLflow does not answer.
    """
    digest = of_file(out)
    store = Store(uri, experiment, Path("mlruns"))
    tags = {key: notes[key] for key in ("recipe", "ingredients", "base") if key in notes}
    tags |= {WEIGHTS_DIGEST: digest}
    settings = {
        "recipe": notes["recipe"],
        "kept": len(set(report["kept"])),
        **json.loads(notes["options"]),
    }
    key = of_value([digest, *sorted(notes.items())])
    logged = store.find(key)
    if logged is not None:
        return logged.run_id
    run_id = store.start("soup", key, f"{notes['recipe']} soup", tags, settings)
    store.log_text(run_id, json.dumps(report, indent=2, default=str), "soup.json")
    with tempfile.TemporaryDirectory() as folder:
        files, model = Path(folder) / "soup", Path(folder) / "model"
        files.mkdir()
        (files / WEIGHTS_FILE).write_bytes(out.read_bytes())
        try:
            write_description(Architecture.parse(notes.get(NOTE, "{}"), str(out)), files)
            save_pyfunc(files, model, digest)
        except ModelError:  # not a whole description: the class names are not known
            model = files
        model_id = store.log_weights(run_id, f"{notes['recipe']}-soup", model, tags)
    if "soup" in report:
        measure = next(name for name in report["soup"] if name != "cost")
        score, best = report["soup"][measure], report["best"][measure]
        metrics = {measure: score, "best_single": best, "gain": score - best}
        metrics["examples"] = report["examples"]
        figures = {f"heldout/{name}": value for name, value in metrics.items()}
        store.log(run_id, 0, figures, model_id)
    store.end(run_id)
    return run_id
