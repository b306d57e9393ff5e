"""soup cook --mlflow: the soup as a run, with what it was made from."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup.files import of_file, of_value
from soup.models import Architecture
from soup.models.by_name import NOTE

FIGURES = ("accuracy", "cost")


def log(uri: str, experiment: str, out: Path, notes: Mapping[str, str], report: Any) -> str:
    """A run with tags for lineage, metrics, and the soup as a logged model; its id.

    Raises:
        Failure: MLflow does not answer, or is not installed.
    """
    from soup.errors import BadInput

    try:
        from soup.tracking import Store, save_pyfunc
    except ImportError as error:
        raise BadInput(
            f"--mlflow needs MLflow: pip install 'modelsoup[pipeline]' ({error})"
        ) from None

    digest = of_file(out)
    store = Store(uri, experiment, Path("mlruns"))
    tags = {key: notes[key] for key in ("recipe", "ingredients", "base") if key in notes}
    tags |= {"sha256.model.safetensors": digest}
    settings = {"recipe": notes["recipe"], "kept": len(set(report["kept"])), **_options(notes)}
    # The same soup from the same candidates is the same run, done once.
    name = of_value([digest, *sorted(notes.items())])
    known = store.find(name)
    if known is not None:
        return known.run_id
    run_id = store.start("soup", name, f"{notes['recipe']} soup", tags, settings)
    if "soup" in report:
        accuracy, n = report["soup"]["accuracy"], report["examples"]
        store.log(run_id, 0, {"heldout/accuracy": accuracy, "heldout/examples": n})
        best = report["best"]["accuracy"]
        store.log(run_id, 0, {"heldout/best_single": best, "heldout/gain": accuracy - best})
    store.log_text(run_id, json.dumps(report, indent=2, default=str), "soup.json")
    with tempfile.TemporaryDirectory() as folder:
        made, model = Path(folder) / "soup", Path(folder) / "model"
        made.mkdir()
        (made / "model.safetensors").write_bytes(out.read_bytes())
        if NOTE in notes:
            Architecture.parse(notes[NOTE], str(out)).save(made / "model.json")
            save_pyfunc(made, model)
        else:
            model = made
        store.log_weights(run_id, f"{notes['recipe']}-soup", model, tags)
    store.end(run_id)
    return run_id


def _options(notes: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(notes["options"])
    return found
