"""The JSON protocol of MLflow's model server: the same requests and answers.

A request holds its images in a column 'image', in one of four forms:

    {"dataframe_split": {"columns": ["image"], "data": [["<base64>"], ...]}}
    {"dataframe_records": [{"image": "<base64>"}, ...]}
    {"instances": ["<base64>", ...]}         or a list of records
    {"inputs": ["<base64>", ...]}            or {"image": ["<base64>", ...]}

The answer is {"predictions": [row, ...]}, or for a refused request {"error_code", "message"}.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orjson import dumps, loads

from soup.serving.classifier import Row

BODY = 16 << 20  # bytes of a request
PICTURES = 256  # in a request
LISTS = 1_000_000  # JSON lists and objects in a request
WAITING = 64  # requests that wait for their answer in one process
HELD = 64 << 20  # bytes of all bodies that wait or arrive in one process
SECONDS = 60.0  # until a body must have arrived
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of all requests that wait in one process.

    Attributes:
        body: bytes of a request.
        pictures: number in a request.
        lists: JSON lists and objects in a request. Pixels given as numbers are one list for each
            pixel, which takes fifteen times the memory of its text.
        waiting: requests that wait for their answer in one process.
        held: bytes of all bodies that wait or arrive in one process.
        seconds: time in which a body must arrive.
    """

    body: int = BODY
    pictures: int = PICTURES
    lists: int = LISTS
    waiting: int = WAITING
    held: int = HELD
    seconds: float = SECONDS


@dataclass
class Refusal(Exception):
    """A request is refused, and gets no predictions.

    Attributes:
        status: HTTP status of the answer.
        message: the limit or rule, and what to do.
        headers: HTTP headers of the answer.
    """

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> bytes:
        """The answer, in MLflow's form."""
        return dumps({"error_code": CODES.get(self.status, "BAD_REQUEST"), "message": self.message})


# The names that MLflow's clients know.
CODES = {
    408: "DEADLINE_EXCEEDED",
    413: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


def images_of(body: bytes, limits: Limits) -> Sequence[Any]:
    """The images of a request: base64 text or lists of pixels.

    Raises:
        Refusal: the request is malformed, or exceeds a limit.
    """
    if body.count(b"[") + body.count(b"{") > limits.lists:
        raise Refusal(
            413,
            f"the request holds more than {limits.lists:,} lists; send pictures as base64 of their "
            "files instead of numbers",
        )
    try:
        request = loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {str(error)[:200]}") from None
    names = [name for name in FORMATS if isinstance(request, dict) and name in request]
    if len(names) != 1:
        raise Refusal(400, f"the body must be a JSON object with exactly one of {list(FORMATS)}")
    images = _column(names[0], request[names[0]])
    if not images:
        raise Refusal(400, "no images were given")
    if len(images) > limits.pictures:
        raise Refusal(
            413,
            f"{len(images)} pictures in a request; at most {limits.pictures} are taken, send the "
            "others in further requests",
        )
    return images


def _column(name: str, content: Any) -> Sequence[Any]:
    if name == "dataframe_split":
        columns = content.get("columns") if isinstance(content, dict) else None
        rows = content.get("data") if isinstance(content, dict) else None
        if not isinstance(columns, list) or not isinstance(rows, list):
            raise Refusal(400, "dataframe_split must hold 'columns' and 'data'")
        place = columns.index("image") if "image" in columns else _no_column(columns)
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            raise Refusal(400, f"each row of dataframe_split must hold {len(columns)} values")
        return [row[place] for row in rows]
    if name == "inputs" and isinstance(content, dict):
        content = content["image"] if "image" in content else _no_column(content)
    if not isinstance(content, list):
        raise Refusal(400, f"{name} must hold a list of images")
    records = [isinstance(entry, dict) for entry in content]
    if name == "dataframe_records" or (records and all(records)):
        if not all(records):
            raise Refusal(400, f"{name} must hold a list of records")
        if content and not any("image" in record for record in content):
            _no_column(content[0])
        return [record.get("image") for record in content]
    return content


def _no_column(names: Any) -> int:
    raise Refusal(400, f"expected a column 'image', got {str([*names][:10])[:200]}")


def predictions(rows: Sequence[Row]) -> bytes:
    """The body of the answer to a request."""
    return dumps({"predictions": rows})
