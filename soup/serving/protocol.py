"""The JSON protocol of MLflow's model server: the same requests and answers.

A request holds its images in a column 'image', or its texts in a column 'text' (and the second
texts of pairs in 'text_pair'), in one of four forms:

    {"dataframe_split": {"columns": ["image"], "data": [["<base64>"], ...]}}
    {"dataframe_records": [{"image": "<base64>"}, ...]}
    {"instances": ["<base64>", ...]}         or a list of records
    {"inputs": ["<base64>", ...]}            or {"image": ["<base64>", ...]}

A text is a JSON string, and a pair of texts a list of two.

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


def entries_of(
    body: bytes, limits: Limits, columns: Sequence[str] = ("image",), noun: str = "images"
) -> Sequence[Any]:
    """The images of a request (base64 text or lists of pixels), or its texts.

    Args:
        columns: of the model's inputs; the first one is required. With several columns, an entry
            may be a record of them.
        noun: what the model classifies, for people.

    Raises:
        Refusal: the request is malformed, or exceeds a limit.
    """
    if body.count(b"[") + body.count(b"{") > limits.lists:
        remedy = "; send pictures as base64 of their files instead of numbers"
        raise Refusal(
            413,
            f"the request holds more than {limits.lists:,} lists"
            f"{remedy if columns == ('image',) else ''}",
        )
    try:
        request = loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {str(error)[:200]}") from None
    names = [name for name in FORMATS if isinstance(request, dict) and name in request]
    if len(names) != 1:
        raise Refusal(400, f"the body must be a JSON object with exactly one of {list(FORMATS)}")
    kind = "images" if columns[0] == "image" else noun
    entries = _entries(names[0], request[names[0]], columns, kind)
    if not entries:
        raise Refusal(400, f"no {kind} were given")
    if len(entries) > limits.pictures:
        raise Refusal(
            413,
            f"{len(entries)} {noun} in a request; at most {limits.pictures} are taken, send the "
            "others in further requests",
        )
    return entries


def _entries(name: str, content: Any, columns: Sequence[str], kind: str) -> Sequence[Any]:
    if name == "dataframe_split":
        given = content.get("columns") if isinstance(content, dict) else None
        rows = content.get("data") if isinstance(content, dict) else None
        if not isinstance(given, list) or not isinstance(rows, list):
            raise Refusal(400, "dataframe_split must hold 'columns' and 'data'")
        if columns[0] not in given:
            raise _no_column(columns[0], given)
        if not all(isinstance(row, list) and len(row) == len(given) for row in rows):
            raise Refusal(400, f"each row of dataframe_split must hold {len(given)} values")
        places = {column: given.index(column) for column in columns if column in given}
        return [_entry({c: row[at] for c, at in places.items()}, columns) for row in rows]
    if name == "inputs" and isinstance(content, dict):
        return _by_column(content, columns, kind)
    if not isinstance(content, list):
        raise Refusal(400, f"{name} must hold a list of {kind}")
    records = [isinstance(entry, dict) for entry in content]
    if name == "dataframe_records" or (records and all(records)):
        if not all(records):
            raise Refusal(400, f"{name} must hold a list of records")
        if content and not any(columns[0] in record for record in content):
            raise _no_column(columns[0], content[0])
        return [_entry(record, columns) for record in content]
    return content


def _by_column(content: dict[str, Any], columns: Sequence[str], kind: str) -> Sequence[Any]:
    if columns[0] not in content:
        raise _no_column(columns[0], content)
    given = {column: content[column] for column in columns if content.get(column) is not None}
    if not all(isinstance(values, list) for values in given.values()):
        raise Refusal(400, f"inputs must hold a list of {kind}")
    if len({len(values) for values in given.values()}) > 1:
        raise Refusal(400, f"the columns {list(given)} of inputs have different lengths")
    rows = zip(*given.values(), strict=True)
    return [_entry(dict(zip(given, row, strict=True)), columns) for row in rows]


def _entry(record: dict[str, Any], columns: Sequence[str]) -> Any:
    """The value of the only column, or the record."""
    return record.get(columns[0]) if len(columns) == 1 else record


def _no_column(column: str, names: Any) -> Refusal:
    return Refusal(400, f"expected a column '{column}', got {str([*names][:10])[:200]}")


def predictions(rows: Sequence[Row]) -> bytes:
    """The body of the answer to a request."""
    return dumps({"predictions": rows})
