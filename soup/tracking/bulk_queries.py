"""Read many runs in few requests.

MLflow's search returns whole runs, and builds an object of each of their fifty or so rows. If one
number of each run is enough, the database's table of metrics, or a server's history of one metric
over many runs, gives it at a small part of that cost.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import RestException
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric
from mlflow.store.tracking.rest_store import RestStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.rest_utils import http_request_safe
from sqlalchemy import select

HISTORY = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # what the plots of MLflow's UI ask for
AT_ONCE = 4  # requests
PART = 500  # ids a search: its filter is parsed at a cost that grows with the square
SHARE = 100  # runs a history: a server's limit
PAGE = 1000  # runs a page
Part = Sequence[str]
Read = TypeVar("Read")


def runs(client: MlflowClient, experiment: str, run_ids: Sequence[str]) -> list[Run]:
    """The runs of an experiment with these ids, in no order; missing ones are left out."""

    def search(some: Part) -> Sequence[Run]:
        query = f"attributes.run_id IN ({', '.join(map(repr, some))})"
        return client.search_runs([experiment], query, max_results=PART)

    return _at_once(search, run_ids, PART)


def finished(client: MlflowClient, experiment: str, parent: str) -> list[Run]:
    """The finished runs of a parent, or for '' of the whole experiment, the oldest first."""
    query = "attributes.status = 'FINISHED'"
    query += f" and tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    in_order: list[Run] = []
    token: str | None = ""
    while token is not None:
        oldest = ["attributes.start_time ASC"]
        page = client.search_runs([experiment], query, 1, PAGE, oldest, token or None)
        in_order += page
        token = page.token or None
    return in_order


def models(client: MlflowClient, experiment: str, model_ids: Sequence[str]) -> list[LoggedModel]:
    """The logged models of an experiment with these ids, in no order; missing ones are left out."""

    def search(some: Part) -> Sequence[LoggedModel]:
        query = f"model_id IN ({', '.join(map(repr, some))})"
        return client.search_logged_models([experiment], query, max_results=PART)

    return _at_once(search, model_ids, PART)


def last(client: MlflowClient, run_ids: Sequence[str], metric: str) -> dict[str, float]:
    """The last value of a metric by run id; NaN where NaN was logged.

    With a server, runs that have the metric may be missing: if one run of a request does not exist,
    the server answers for none of them.
    """
    store = client._tracking_client.store
    if isinstance(store, SqlAlchemyStore):
        return dict(_at_once(lambda some: _of_database(store, some, metric), run_ids, PART))
    newest: dict[str, tuple[int, int, float]] = {}
    for point in _at_once(lambda some: _of_server(store, some, metric), run_ids, SHARE):
        # The order in which MLflow itself tells which is the last.
        value = int(point["step"]), int(point["timestamp"]), float(point["value"])
        newest[point["run_id"]] = max(value, newest.get(point["run_id"], value))
    return {run_id: value for run_id, (_, _, value) in newest.items()}


def _of_database(store: SqlAlchemyStore, some: Part, metric: str) -> list[tuple[str, float]]:
    # The column `value` holds 0 where NaN was logged.
    columns = select(SqlLatestMetric.run_uuid, SqlLatestMetric.value, SqlLatestMetric.is_nan)
    query = columns.where(SqlLatestMetric.key == metric, SqlLatestMetric.run_uuid.in_(some))
    with store.ManagedSessionMaker() as session:
        rows = session.execute(query)
        return [(run_id, math.nan if is_nan else value) for run_id, value, is_nan in rows]


def _of_server(store: RestStore, some: Part, metric: str) -> list[dict[str, Any]]:
    parameters = [*(("run_id", run_id) for run_id in some), ("metric_key", metric)]
    try:
        answer = http_request_safe(store.get_host_creds(), HISTORY, "GET", params=parameters)
    except RestException:
        return []
    points: list[dict[str, Any]] = answer.json()["metrics"]
    return points


def _at_once(read: Callable[[Part], Sequence[Read]], ids: Part, most: int) -> list[Read]:
    parts = [ids[start : start + most] for start in range(0, len(ids), most)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [row for rows in threads.map(read, parts) for row in rows]
