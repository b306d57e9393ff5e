"""What tests ask of the services: by HTTP, by SQL, by S3, by a WebSocket."""

import base64
import http.client
import json
from typing import Any

from tests.services.started import Services


def ask(
    port: str, path: str, credentials: str = "", host: str = "", method: str = "GET"
) -> tuple[int, str]:
    """Status and body of a request."""
    headers = {"Host": host or f"127.0.0.1:{port}"}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def mlflow_user(services: Services) -> str:
    env = services.env
    return f"{env['MLFLOW_TRACKING_USERNAME']}:{env['MLFLOW_TRACKING_PASSWORD']}"


def query(services: Services, database: str, statement: str, **other: str) -> list[tuple[Any, ...]]:
    """Rows, as PostgreSQL's administrator unless `other` names another user."""
    import psycopg

    env = services.administrator | other
    with psycopg.connect(
        host=env["PGHOST"],
        port=int(env["PGPORT"]),
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        dbname=database,
    ) as connection:
        return connection.execute(statement.encode()).fetchall()


def flow_runs(services: Services) -> dict[str, str]:
    """The state of the last run of each flow."""
    statement = (
        "select flow.name, state_type from flow_run join flow on flow.id = flow_run.flow_id "
        "order by flow_run.created"
    )
    return {name: str(state) for name, state in query(services, "prefect", statement)}


def s3(services: Services, secret: str = "", signed: bool = True) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    env = services.env
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL_S3"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or env["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            signature_version="s3v4" if signed else UNSIGNED, retries={"max_attempts": 1}
        ),
    )


def objects(services: Services) -> dict[str, int]:
    """Keys and sizes of what is in MLflow's bucket."""
    pages = s3(services).get_paginator("list_objects_v2").paginate(Bucket="mlflow")
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


def let_in(services: Services, path: str, token: str) -> bool:
    """Whether a WebSocket of Prefect's accepts a token."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    url = f"ws://127.0.0.1:{services.ports['PREFECT_PORT']}/api/{path}"
    try:
        with connect(url, subprotocols=[Subprotocol("prefect")]) as opened:
            opened.send(json.dumps({"type": "auth", "token": token}))
            return bool(json.loads(opened.recv(timeout=300))["type"] == "auth_success")
    except WebSocketException:
        return False
