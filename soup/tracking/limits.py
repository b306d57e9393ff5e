"""What the tables of MLflow's databases hold.

PostgreSQL and MySQL refuse a text that is longer than its column, and MLflow cuts others short;
SQLite enforces nothing. Texts that may be longer, because they grow with a sweep, are stored as
artifacts of their run, and a reference stands in their place.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from soup.tracking.server_check import TrackingError

LONGEST = 5000  # characters: of a description and of a registered model's tag; the others hold more
LONGEST_NAME = 250  # of a run, and of the key of a parameter, tag or metric
LONGEST_LOCATION = 155  # of an experiment's artifacts, so that those of a run stay within 200
BATCH = 100  # params or tags a request; of metrics it takes more
_REFERENCE = re.compile(r"artifact (\S+) of run (\w+)")
Entry = TypeVar("Entry")


def storable(text: str) -> str:
    """A text without what databases refuse: NUL, and bytes of file names that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def shortened(text: str, limit: int = LONGEST) -> str:
    """A text for people that fits: cut short at the end of a line or word, and ended by '...'."""
    text = storable(text)
    if len(text) <= limit:
        return text
    cut = text[: limit - 4]
    return re.sub(r"\s\S*$", "", cut) + " ..."


def key_of(name: str) -> str:
    """The name of a parameter as MLflow takes it: some characters become '_'."""
    parts = (part.strip() for part in re.sub(r"[^\w.\- :/]", "_", name).split("/"))
    return "/".join(part for part in parts if part.strip("."))[:LONGEST_NAME] or "_"


def model_name(name: str) -> str:
    """The name of a logged model as MLflow takes it."""
    return re.sub(r"[/:.%\"']", "_", storable(name))[:LONGEST_NAME]


def long_ones(texts: Mapping[str, str]) -> dict[str, str]:
    """Those of the texts that no tag or parameter holds."""
    return {key: text for key, text in texts.items() if len(text) > LONGEST}


def referring(
    client: MlflowClient, run_id: str, folder: str, texts: Mapping[str, str]
) -> dict[str, str]:
    """The texts, with references in the place of long ones, which are stored first.

    Args:
        run_id: the run whose artifacts they become.
        folder: among the artifacts.
        texts: by key of the tag or parameter.
    """
    short = dict(texts)
    for key, text in long_ones(texts).items():
        path = f"{folder}/{re.sub(r'[^A-Za-z0-9_.-]', '_', key)}.txt"
        client.log_text(run_id, text, path)
        short[key] = f"artifact {path} of run {run_id}"
    return short


def whole(client: MlflowClient, text: str) -> str:
    """A text as it was given, also where a reference stands in its place.

    Raises:
        TrackingError: the artifact that is referred to cannot be read.
    """
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return text
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = client.download_artifacts(reference[2], reference[1], folder)
        except (MlflowException, OSError) as error:
            raise TrackingError(f"the {text} cannot be read: {error}") from None
        return Path(file).read_text(encoding="utf-8")


def batches(entries: Sequence[Entry], size: int = BATCH) -> Iterator[list[Entry]]:
    """The entries, in lists of at most so many."""
    remaining = iter(entries)
    while batch := list(islice(remaining, size)):
        yield batch
