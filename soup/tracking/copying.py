"""A registered version in another registry: the same bytes, the same lineage, its source named."""

import json
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException

from soup.errors import without_password
from soup.files import of_value
from soup.models.allowed_files import digests
from soup.tracking.audit import AUDIT, event, history, note
from soup.tracking.open_runs import runs_end_with_block
from soup.tracking.registered_files import FILES, fetch, registered_files
from soup.tracking.registry import Registry, Version, create, of_digest, version
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store


@runs_end_with_block()
def copy(source: Registry, found: Version, target: Store, model: str, cache: Path) -> Version:
    """Copy a version, every file checked against its digest, as the target's `challenger`.

    Within one registry the weights are not stored a second time. A version that is there already,
    by its digest, is not made again; an interrupted copy goes on.

    Args:
        cache: folder for what is downloaded.

    Raises:
        Refused: a registry holds files that are not ours, or not what was registered.
        TrackingError: a registry refuses, or the target has other files under this digest.
    """
    if (source.uri, found.model) == (target.uri, model):
        raise TrackingError(f"{found} is in {model} of {target.uri} already: name another model")
    origin = f"{found} of {without_password(source.uri)}"
    folder = fetch(source, found, cache / of_value([source.uri, found.model, found.number]))
    root = folder.parents[1]
    files = digests(root)
    try:
        made = of_digest(target, model, found.tags["digest"])
        if made is None:
            made = _make(source, found, target, model, root, origin)
        elif registered_files(made) != files:
            raise TrackingError(f"{made} of {target.uri} has the digest of {origin}, other files")
        if not any(done.what == "copied" for done in history(target, model, made.number)):
            target.client.set_registered_model_alias(model, "challenger", made.number)
            note(target, model, event("copied", f"from {origin}", made.number))
    except MlflowException as error:
        raise TrackingError(f"the registry at {target.uri} refused {model}: {error}") from None
    made = version(target, model, made.number)
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        fetch(target, made, Path(aside) / "copy")  # what arrived is what was sent
    return made


def _make(
    source: Registry, found: Version, target: Store, model: str, root: Path, origin: str
) -> Version:
    original = source.client.get_model_version(found.model, found.number)
    tags = {key: value for key, value in found.tags.items() if not key.startswith(AUDIT)}
    tags |= {FILES: json.dumps(digests(root)), "copied_from": origin}
    text = f"Copied from {origin}.\n\n{original.description or ''}"
    if source.uri == target.uri:
        return create(target, model, original.source, found.run_id, original.model_id, tags, text)
    if urlsplit(source.uri).scheme in ("http", "https"):
        there = without_password(source.uri).rstrip("/")
        text = text.replace("](#/", f"]({there}/#/")  # runs are where they were
    lineage = {key: value for key, value in tags.items() if key != FILES}
    digest = of_value(["copy", origin, found.tags["digest"]])
    run_id = target.start("copy", digest, f"copy of {found}", lineage)
    model_id = target.log_weights(run_id, f"{model}-copy", root, {"digest": found.tags["digest"]})
    target.end(run_id)
    location = target.client.get_logged_model(model_id).artifact_location
    return create(target, model, location, run_id, model_id, tags, text)
