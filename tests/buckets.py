"""An S3 with one bucket: moto's server, with all in its memory."""

import contextlib
import json
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.servers import Server, running

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


class MotoServer(Server):
    """What it holds is gone when it is killed."""

    @property
    def health(self) -> str:
        return f"{self.address}/moto-api/"

    def command(self) -> list[str]:
        return ["-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]

    def settings(self) -> dict[str, str]:
        return {}


@contextlib.contextmanager
def bucket(name: str, checked: bool = True) -> Iterator[dict[str, str]]:
    """An empty bucket; its address as `endpoint_url` and its key, as boto3 calls them.

    Args:
        name: of the bucket.
        checked: refuse requests that are not signed by the key. moto then answers 500 to presigned
            addresses, by which MLflow's clients download.
    """
    import boto3

    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        server = MotoServer(Path(folder))
        with running(server):
            where = {"region_name": "us-east-1", "endpoint_url": server.address}
            anybody = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
            boto3.client("s3", **where, **anybody).create_bucket(Bucket=name)
            key = _new_key(boto3.client("iam", **where, **anybody))
            if checked:  # no further request goes unchecked
                plain = {"Content-Type": "text/plain"}
                reset = f"{server.address}/moto-api/reset-auth"
                urllib.request.urlopen(urllib.request.Request(reset, b"0", plain)).close()
            yield where | key


def _new_key(iam: Any) -> dict[str, str]:
    iam.create_user(UserName="owner")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
    iam.put_user_policy(UserName="owner", PolicyName="everything", PolicyDocument=policy)
    key = iam.create_access_key(UserName="owner")["AccessKey"]
    return {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
