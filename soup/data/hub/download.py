"""Download the files of a data set from the Hugging Face hub into the data root.

`huggingface_hub` does the transfers: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and proxies apply as
everywhere. A broken connection goes on where it was; after a kill, whole files are kept.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from soup.config.data import Hub
from soup.data.errors import DataError
from soup.data.hub.layout import (
    chosen,
    class_names,
    configurations,
    default_configuration,
    front_matter,
)
from soup.data.hub.record import COMMIT, CONVERTED, HubFiles, load, record_file, save
from soup.errors import without_password

SECONDS = 5  # that the hub has to say whether a branch moved
README = "README.md"

Say = Callable[[str], object]


def fetch(hub: Hub, root: Path, splits: Iterable[str], say: Say = lambda _: None) -> HubFiles:
    """Make sure that the files of some splits are in the data root.

    What is there is not asked for again: a revision stays the commit to which it led at first. If
    the branch has moved since, one line says so; while the hub does not answer, nothing is said.

    Args:
        splits: names of splits of the data set.
        say: shows a line to the user.

    Raises:
        DataError: the data set, revision, configuration or split is missing, the user may not read
            it, or the hub cannot be reached; the message says which, and what to do.
    """
    wanted = [*dict.fromkeys(splits)]
    record = load(root, hub)
    new = record is None
    if record is None:
        record = _resolved(hub, root)
    for split in wanted:
        record.files(root, split)  # no download, if another split is missing
    lost = [file for split in wanted for file in record.missing(root, split)]
    if lost:
        say(
            f"downloading {len(lost)} files of {hub.dataset} at {record.commit[:12]} to "
            f"{record.folder(root)}"
        )
    for file in lost:
        # A file of another size than it had is damaged; `huggingface_hub` would keep it.
        (record.folder(root) / file).unlink(missing_ok=True)
        path = _download(hub, record.commit, file, record.folder(root))
        record = replace(record, have={**record.have, file: path.stat().st_size})
        save(record, root, hub)
    if new:
        say(
            f"{hub.dataset}: {record.ref} is commit {record.commit}; to keep to it on other "
            "machines, write it as data.hub.revision"
        )
    elif moved := _moved(record):
        say(
            f"warning: {record.ref} of {hub.dataset} has moved to {moved}; this experiment stays "
            f"with {record.commit}. For the new data delete {record_file(root, hub)}, or set "
            f"data.hub.revision: {moved}"
        )
    return record


def _resolved(hub: Hub, root: Path) -> HubFiles:
    """Ask the hub which files there are."""
    revision = hub.revision or "main"
    info = _info(hub, revision)
    files = [sibling.rfilename for sibling in info.siblings or []]
    card = _card(hub, info.sha, files, root)
    found = configurations(files, card)
    if not found and revision == "main":
        try:
            info, revision = _info(hub, CONVERTED), CONVERTED
        except DataError as error:
            raise _no_parquet(hub, f": {error}") from None
        found = configurations([s.rfilename for s in info.siblings or []], {})
        found = {  # those of more than 5 GB are converted in part
            config: {s: files for s, files in splits.items() if not s.startswith("partial-")}
            for config, splits in found.items()
        }
        found = {config: splits for config, splits in found.items() if splits}
    if not found:
        raise _no_parquet(hub, " in full")
    config = chosen(found, hub.config, default_configuration(card), hub.dataset)
    return HubFiles(
        hub.dataset, config, revision, info.sha, found[config], class_names(card, config)
    )


def _no_parquet(hub: Hub, why: str) -> DataError:
    return DataError(
        f"{hub.dataset} has no Parquet files whose names tell their split, and the hub has not "
        f"converted it ({CONVERTED}){why}; download its files (hf download --repo-type dataset "
        f"{hub.dataset}) and name them as data.train and data.test"
    )


def _card(hub: Hub, commit: str, files: list[str], root: Path) -> dict[str, Any]:
    if README not in files:
        return {}
    folder = HubFiles(hub.dataset, "", "", commit, {}).folder(root)
    path = _download(hub, commit, README, folder)
    try:
        return front_matter(path.read_text(encoding="utf-8-sig"), f"{README} of {hub.dataset}")
    except (OSError, ValueError) as error:
        raise DataError(f"{README} of {hub.dataset} cannot be read: {error}") from None


def _moved(record: HubFiles) -> str:
    """The commit that the branch leads to now, if it is another; '' if that cannot be told."""
    if COMMIT.fullmatch(record.ref):
        return ""
    try:
        commit = _api().dataset_info(record.name, revision=record.ref, timeout=SECONDS).sha
    except Exception:  # whatever the package raises: the data are here
        return ""
    return commit if commit and commit != record.commit else ""


def _info(hub: Hub, revision: str) -> Any:
    try:
        info = _api().dataset_info(hub.dataset, revision=revision)
    except Exception as error:  # whatever the package raises: there is no common class
        raise _explained(error, hub, revision) from None
    if not COMMIT.fullmatch(info.sha or ""):
        raise DataError(
            f"{_endpoint()} names no commit of {hub.dataset}: is it a Hugging Face hub?"
        )
    return info


def _download(hub: Hub, commit: str, file: str, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        path = hf_hub_download(
            hub.dataset,
            file,
            repo_type="dataset",
            revision=commit,
            local_dir=folder,
            endpoint=_mirror(),
        )
    except Exception as error:
        raise _explained(error, hub, commit, file) from None
    return Path(path)


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_mirror())


def _mirror() -> str | None:
    """HF_ENDPOINT, which `huggingface_hub` would read only once, at import; None if not set."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _endpoint() -> str:
    return without_password(str(_api().endpoint))


def _explained(error: Exception, hub: Hub, revision: str, file: str = "") -> DataError:
    """One line for an error of `huggingface_hub`: which, why and what to do."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    where = _endpoint()
    what = f"{file} of {hub.dataset}" if file else hub.dataset
    line = without_password(str(error).strip().split("\n")[0])[:300]
    if isinstance(error, errors.GatedRepoError):
        told = (
            f"{hub.dataset} is gated: accept its conditions at {where}/datasets/{hub.dataset}, "
            "then run `hf auth login`, or set HF_TOKEN"
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        told = (
            f"there is no data set {hub.dataset} on {where}, or it is private and you may not read "
            "it: check the name (OWNER/NAME); of a private one run `hf auth login`, or set HF_TOKEN"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        told = f"{hub.dataset} has no branch, tag or commit {revision} (data.hub.revision)"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        told = f"{what} is no longer at commit {revision}: delete its record, or name a revision"
    elif status in (401, 403):
        told = f"{where} refuses {what} ({status}): your HF_TOKEN is not valid for it"
    elif isinstance(error, errors.HFValidationError):
        told = f"{hub.dataset!r} is no name of a data set: {line}"
    elif "No space left" in str(error):
        raise error
    else:
        told = (
            f"{what} cannot be fetched from {where} ({type(error).__name__}: {line}). What was "
            "fetched is kept; without a network, run prepare where there is one and copy the "
            "folder 'hub' of data.root, or set HF_ENDPOINT to a mirror"
        )
    return DataError(told)
