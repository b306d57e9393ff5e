"""What the tests of the server ask, and of whom."""

import base64
import io
import json
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from soup.serving.protocol import Limits
from tests.worlds import COLOURS, picture

HOSTS = ["127.0.0.1", "localhost", "*.example.org"]
LIMITS = Limits(body=20_000, pictures=4, lists=2_000, waiting=2, held=50_000)


def encoded(seed: int, colour: str = "red") -> str:
    file = io.BytesIO()
    picture(COLOURS[colour], seed, (24, 20)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


A, B = encoded(1), encoded(2, "blue")
ARRAY = np.asarray(picture(COLOURS["green"], 3, (20, 20))).tolist()


def ask(client: TestClient, request: Any) -> Any:
    return client.post("/invocations", json=request)


def rounded(rows: list[dict]) -> list[dict]:
    """A picture's answer differs in the last digits by what is in its batch."""
    return [json.loads(json.dumps(row), parse_float=lambda x: round(float(x), 4)) for row in rows]
