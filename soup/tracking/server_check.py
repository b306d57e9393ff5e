"""Check MLflow before work begins: is a server there, does it let us in, does it fit?"""

import logging
import re
import time
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from soup import older_databases
from soup.errors import BadInput, without_password

SECONDS = 60.0  # that a busy server may take to answer; a missing one is refused at once
AWAY = 120.0  # seconds that a server that worked before may be away: it may be restarting
NO_ANSWER = 0
_usable: set[str] = set()


class TrackingError(BadInput, RuntimeError):
    """The tracking server or registry cannot be used; the message has its address."""


def is_server(uri: str) -> bool:
    """Whether a tracking store is a server; else it is a database."""
    return uri.startswith(("http://", "https://"))


def database_of(uri: str) -> Path | None:
    """The file of a SQLite database, sqlite:///FILE or sqlite:///FILE?timeout=60; else None."""
    file = uri.removeprefix("sqlite:///")
    return None if file == uri else Path(file.partition("?")[0])


def require_usable(uri: str, reading: bool = False) -> None:
    """Check a tracking store, and migrate a SQLite database of an earlier MLflow.

    Args:
        reading: migrate nothing, and refuse a database that is missing or would be migrated.

    Raises:
        TrackingError: it cannot be used; the message says what to do.
    """
    if is_server(uri):
        answers(uri)
    elif reading:
        _require_database_to_read(uri)
    else:
        bring_database_up_to_date(uri)


def answers(uri: str) -> None:
    """Check that a server is there, knows our credentials and is of our version.

    MLflow's own client would retry for minutes, even with an address that was never a server.

    Raises:
        TrackingError: it cannot be used; the message says what to do.
    """
    deadline = time.monotonic() + (AWAY if uri in _usable else 0)
    status, text = _get(uri, "/version")
    while (status >= 500 or status == NO_ANSWER) and time.monotonic() < deadline:
        time.sleep(1)
        status, text = _get(uri, "/version")
    wrong = _wrong(uri, status, text.strip())
    if wrong:
        raise TrackingError(wrong)
    _usable.add(uri)


def bring_database_up_to_date(uri: str) -> None:
    """Migrate a SQLite database of an earlier MLflow, after a copy; MLflow itself makes none.

    Raises:
        TrackingError: a newer MLflow has migrated it, or it cannot be copied or migrated.
    """
    database = database_of(uri)
    if database is None:
        return
    try:
        done = older_databases.bring_up_to_date(database, older_databases.MLFLOW)
    except older_databases.OtherSchema as error:
        raise TrackingError(str(error)) from None
    if done:
        logging.getLogger(__name__).warning("%s", done)


def _require_database_to_read(uri: str) -> None:
    """Check that a SQLite database is there, and that MLflow does not migrate it if it is opened.

    Raises:
        TrackingError: it is missing, cannot be read, or is of another version of MLflow.
    """
    database = database_of(uri)
    if database is None:
        return
    if not database.is_file():
        raise TrackingError(
            f"MLflow's database {database} is not there: set MLFLOW_TRACKING_URI to where the "
            "experiment is"
        )
    try:
        older = older_databases.is_older(database, older_databases.MLFLOW)
    except older_databases.OtherSchema as error:
        raise TrackingError(str(error)) from None
    if older:
        raise TrackingError(
            f"{database} is of an earlier MLflow; a copy is made, and it is migrated, by: "
            f"python -m soup.older_databases mlflow {database}"
        )


def _wrong(uri: str, status: int, text: str) -> str:
    if status == NO_ANSWER:
        return (
            f"MLflow at {uri} does not answer ({text}); "
            "start it, or set MLFLOW_TRACKING_URI to where it is"
        )
    if status >= 500:
        return f"MLflow at {uri} answers with {status}; see the server's log"
    if status == 401:
        return (
            f"MLflow at {uri} refuses the credentials; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD (`make services` writes them to .services/env)"
        )
    if status == 403:
        return f"MLflow at {uri} refuses us: {text[:200]}"
    # What only speaks MLflow's protocol need not say of which version it is.
    return _other_version(uri, text) if status == 200 else ""


def _other_version(uri: str, text: str) -> str:
    ours = mlflow.__version__
    if not re.fullmatch(r"\d+\.\d+\S*", text):
        return f"{uri} answers, but is not MLflow; set MLFLOW_TRACKING_URI to where that is"
    if text.split(".", maxsplit=1)[0] != ours.split(".")[0]:
        return (
            f"MLflow at {uri} is version {text}, and here is {ours}; both must be of one major "
            f"version: pip install 'mlflow=={text}', or another server"
        )
    if text.split(".")[:2] != ours.split(".")[:2]:
        message = "MLflow at %s is version %s, and here is %s; what is new in one may fail"
        logging.getLogger(__name__).warning(message, without_password(uri), text, ours)
    return ""


def away(uri: str) -> bool:
    """Whether a server does not answer now; never true of a database."""
    return uri.startswith("http") and _get(uri, "/version")[0] == NO_ANSWER


def without_artifacts(uri: str, experiment_id: str) -> str:
    """Why a server cannot read its artifact store, such as an S3 bucket; '' if it can."""
    # Of an experiment that is ours: only administrators may look at the whole store.
    status, text = _get(uri, f"/api/2.0/mlflow-artifacts/artifacts?path={experiment_id}")
    # One that leaves artifacts to its clients says 503, and what has no such route 404.
    if status in (200, 503) or (status == 404 and "Failed to list" not in text):
        return ""
    said = re.search(r'"message": "(.*?)"', text)
    return (
        f"MLflow at {uri} cannot read the store of its artifacts "
        f"({said[1] if said else text[:200]}): "
        "does its bucket exist, and may the server read it? Its log says more"
    )


def _get(uri: str, path: str) -> tuple[int, str]:
    """The status and text of an answer, or NO_ANSWER and the reason."""
    try:
        answer = http_request(
            get_default_host_creds(uri.rstrip("/")),
            path,
            "GET",
            max_retries=0,
            timeout=SECONDS,
            raise_on_status=False,
        )
    except (MlflowException, ValueError) as error:
        said = str(error)
        why = re.search(r"\[Errno [^)\"]*", said)
        return NO_ANSWER, why[0] if why else said[:200]
    return answer.status_code, answer.text
