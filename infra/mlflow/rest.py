"""Requests to the MLflow that MLFLOW_TRACKING_URI names, with the standard library alone.

The user is MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD. If these are not set, as in the
server's own container, it is the administrator (MLFLOW_AUTH_ADMIN_USERNAME,
MLFLOW_AUTH_ADMIN_PASSWORD). The header Host is the first of MLFLOW_SERVER_ALLOWED_HOSTS, because
MLflow may refuse 127.0.0.1.
"""

import base64
import json
import os
import urllib.error
import urllib.request
from typing import Any

SECONDS = 10  # for an answer


class Refused(Exception):
    """The reason why a request failed, in one line without addresses or passwords.

    Attributes:
        code: MLflow's name of the error, such as RESOURCE_ALREADY_EXISTS; '' if it did not answer.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def ask(path: str, body: dict[str, Any] | None = None, method: str = "", api: str = "2.0") -> Any:
    """Send a GET, or a POST with a body, to MLflow's REST API; return the answer.

    Raises:
        Refused: the request failed.
    """
    server = os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000").rstrip("/")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{server}/api/{api}/mlflow/{path}", data, _headers(), method=method or None
    )
    what = path.partition("?")[0]
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        text = error.read(2000).decode(errors="replace")
        try:
            told = json.loads(text)
        except ValueError:
            told = {"message": text}
        said = " ".join(str(told.get("message", text)).split())[:300]
        raise Refused(f"{what}: {error.code} {said}", str(told.get("error_code"))) from None
    except TimeoutError:
        raise Refused(f"no answer to {what} within {SECONDS:.0f} s") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{what}: {getattr(error, 'reason', error)}") from None


def _headers() -> dict[str, str]:
    told, headers = os.environ, {"Content-Type": "application/json"}
    user = told.get("MLFLOW_TRACKING_USERNAME") or told.get("MLFLOW_AUTH_ADMIN_USERNAME")
    secret = told.get("MLFLOW_TRACKING_PASSWORD") or told.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")
    if user:
        known = base64.b64encode(f"{user}:{secret}".encode()).decode()
        headers["Authorization"] = f"Basic {known}"
    if hosts := told.get("MLFLOW_SERVER_ALLOWED_HOSTS"):
        headers["Host"] = hosts.split(",")[0]
    return headers
