"""Large weights go to S3 in parts, past MLflow's server: its clients do so by themselves."""

import os
from pathlib import Path
from urllib.parse import urlparse

import pytest

from soup.tracking import Store
from tests.buckets import bucket
from tests.servers import MlflowServer, running

pytestmark = pytest.mark.slow
MEGABYTE = 2**20


@pytest.mark.parametrize("in_parts", [True, False])
def test_large_weights_are_sent_in_parts_and_only_where_clients_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: bool
) -> None:
    import boto3

    monkeypatch.delenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", raising=False)
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(MEGABYTE))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * MEGABYTE))
    if not in_parts:
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = os.urandom(12 * MEGABYTE)  # in 3 parts of clients; MLflow's server sends 8 MB at once
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "model.json").write_text("{}")
    with bucket("mlflow", checked=False) as reach:
        environment = {
            "MLFLOW_S3_ENDPOINT_URL": reach["endpoint_url"],
            "AWS_DEFAULT_REGION": reach["region_name"],
            "AWS_ACCESS_KEY_ID": reach["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": reach["aws_secret_access_key"],
        }
        server = MlflowServer(tmp_path / "server", environment, artifacts="s3://mlflow/weights")
        with running(server):
            store = Store(server.address, "large", tmp_path)
            run = store.start("soup", "large", "soup")
            model = store.client.get_logged_model(store.log_weights(run, "soup", folder, {}))
        s3 = boto3.client("s3", **reach)
        start = "weights" + urlparse(model.artifact_location).path
        parts = {}
        for name in ("model.safetensors", "model.json"):
            stored = s3.get_object(Bucket="mlflow", Key=f"{start}/{name}")
            parts[name] = stored["ETag"].strip('"').partition("-")[2]
            assert stored["Body"].read() == (folder / name).read_bytes()
    assert parts == {"model.safetensors": "3" if in_parts else "2", "model.json": ""}
