"""The server answers as MLflow's does, refuses what is past its limits, and goes on."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from soup.serving.app import application
from soup.serving.classifier import Classifier
from tests.serving.worlds import ARRAY, HOSTS, LIMITS, A, B, ask, rounded
from tests.worlds import COLOURS, put, tiny

REQUESTS = {
    "split": {"dataframe_split": {"columns": ["image"], "data": [[A], [B]]}},
    "split with index": {
        "dataframe_split": {"index": [5, 3], "columns": ["id", "image"], "data": [[1, A], [2, B]]}
    },
    "records": {"dataframe_records": [{"image": A}, {"image": B, "id": 7}]},
    "a record without image": {"dataframe_records": [{"image": A}, {"id": 7}]},
    "instances": {"instances": [A, B]},
    "instances of records": {"instances": [{"image": A}, {"image": B}]},
    "instances of one array": {"instances": [ARRAY]},
    "inputs": {"inputs": [A, B]},
    "inputs by column": {"inputs": {"image": [A, B]}},
    "inputs of one array": {"inputs": [ARRAY]},
    "params": {"inputs": [A], "params": {}},
    "a refused one": {"inputs": [A, "AAAA", B, "%"]},
    "all refused": {"dataframe_records": [{"image": "AAAA"}]},
}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, TestClient]:
    """MLflow's own servers of the same model, without its signature and with it."""
    import mlflow
    from mlflow.models import Model
    from mlflow.pyfunc import scoring_server

    from soup.tracking import save_pyfunc

    folder = tmp_path_factory.mktemp("peer")
    (folder / "soup").mkdir()
    save_pyfunc(put(folder / "soup", tiny(seed=4)), folder / "model")
    signed = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(folder / "model"))))
    description = Model.load(str(folder / "model"))
    description.signature = None
    description.save(str(folder / "model" / "MLmodel"))
    plain = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(folder / "model"))))
    return plain, signed


@pytest.fixture(scope="module")
def peer(peers: tuple[TestClient, TestClient]) -> TestClient:
    """MLflow's own server of the same model without a signature, with which it takes all forms."""
    return peers[0]


@pytest.mark.parametrize("name", REQUESTS)
def test_it_answers_as_mlflow_s_server_does(
    client: TestClient, peer: TestClient, name: str
) -> None:
    ours, theirs = ask(client, REQUESTS[name]), ask(peer, REQUESTS[name])
    assert (ours.status_code, theirs.status_code) == (200, 200), theirs.text
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    rows, expected = ours.json()["predictions"], theirs.json()["predictions"]
    assert [{**row, "error": bool(row["error"])} for row in rounded(rows)] == [
        {**row, "error": bool(row["error"])} for row in rounded(expected)
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_with_the_signature_mlflow_s_server_takes_all_forms_of_inputs_and_names_them_to_others(
    peers: tuple[TestClient, TestClient], name: str
) -> None:
    plain, signed = (ask(peer, REQUESTS[name]) for peer in peers)
    if "inputs" in REQUESTS[name]:
        assert (signed.status_code, signed.json()) == (200, plain.json())
    else:
        assert signed.status_code == 400
        assert "'inputs'" in signed.json()["message"]


def test_mlflow_s_other_addresses_are_there(client: TestClient, peer: TestClient) -> None:
    for path in ("/ping", "/health", "/version"):
        ours, theirs = client.get(path), peer.get(path)
        assert (ours.status_code, ours.content) == (200, theirs.content)
        assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_a_refused_picture_is_named_with_its_reason_and_the_others_are_answered(
    client: TestClient,
) -> None:
    first, none, second = ask(client, {"inputs": [A, "AAAA", B]}).json()["predictions"]
    assert (first["error"], second["error"]) == (None, None)
    assert first["label"] in COLOURS
    assert none.pop("error").startswith("not an image of a format that is read")
    assert none == {"label": None, "probability": None, "probabilities": None}


WRONG = {
    "no JSON": (b"{", 400, "the body is no JSON"),
    "not UTF-8": (b'{"inputs": ["\xff"]}', 400, "the body is no JSON"),
    "a list": ([A], 400, "exactly one of"),
    "no known name": ({"data": [A]}, 400, "exactly one of"),
    "two names": ({"inputs": [A], "instances": [A]}, 400, "exactly one of"),
    "no images": ({"inputs": []}, 400, "no images were given"),
    "text": ({"inputs": A}, 400, "inputs must hold a list of images"),
    "no column": ({"dataframe_records": [{"x": A}]}, 400, r"column 'image', got \['x'\]"),
    "no column in split": (
        {"dataframe_split": {"columns": ["x"], "data": [[A]]}}, 400, "column 'image'"
    ),
    "split without data": ({"dataframe_split": {"columns": ["image"]}}, 400, "'columns' and"),
    "ragged split": (
        {"dataframe_split": {"columns": ["image"], "data": [[A], []]}}, 400, "must hold 1 values"
    ),
    "mixed records": ({"dataframe_records": [{"image": A}, 7]}, 400, "a list of records"),
    "many pictures": ({"inputs": [A] * 5}, 413, "5 pictures in a request; at most 4 are taken"),
    "many lists": ({"inputs": [[[[]]] * 2_000]}, 413, "more than 2,000 lists; send pictures"),
    "many bytes": ({"inputs": ["A" * 20_000]}, 413, "larger than 0.0190735 MiB; send fewer"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_request_that_cannot_be_used_is_told_why(client: TestClient, name: str) -> None:
    request, status, told = WRONG[name]
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert set(answer.json()) == {"error_code", "message"}
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(answer.json()["message"])
    assert ask(client, {"inputs": [A]}).status_code == 200  # it goes on


def test_a_body_of_unknown_size_is_read_no_further_than_the_limit(client: TestClient) -> None:
    sent = []

    def parts() -> Iterator[bytes]:
        for _ in range(1000):
            sent.append(1000)
            yield b"A" * 1000

    answer = client.post(
        "/invocations", content=parts(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    whole = json.dumps({"inputs": [A]}).encode()
    pieces = (whole[i : i + 100] for i in range(0, len(whole), 100))
    answer = client.post(
        "/invocations", content=pieces, headers={"Content-Type": "application/json"}
    )
    assert answer.json()["predictions"][0]["error"] is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=UTF-8", 200),
        ("text/plain", 415),  # which a page of another site may send without asking
        ("application/json; charset=latin-1", 415),
        ("text/csv", 415),
        ("", 415),
    ],
)
def test_only_json_is_taken(client: TestClient, kind: str, status: int) -> None:
    body = json.dumps({"inputs": [A]}).encode()
    answer = client.post(
        "/invocations", content=body, headers={"Content-Type": kind} if kind else {}
    )
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/invocations", "/ping", "/version"])
@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("models.example.org", True),
        ("evil.example", False),
        ("example.org.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_a_page_under_another_host_name_gets_nothing(
    client: TestClient, path: str, host: str, allowed: bool
) -> None:
    method = "POST" if path == "/invocations" else "GET"
    answer = client.request(method, path, json={"inputs": [A]}, headers={"Host": host})
    assert answer.status_code == (200 if allowed else 400)
    assert allowed or answer.text == "Invalid host header"


def test_no_other_origin_may_ask(client: TestClient) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/invocations", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_request_that_fails_is_told_so_and_the_server_goes_on(
    client: TestClient, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Any) -> Any:
        raise MemoryError

    for name in ("read", "rows"):
        with monkeypatch.context() as patch:
            patch.setattr(classifier, name, failing)
            answer = ask(client, {"inputs": [A]})
            assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
        assert ask(client, {"inputs": [A]}).status_code == 200


def test_a_line_is_logged_for_each_request_without_its_content(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "soup.serving"):
        ask(client, {"inputs": [A, "AAAA", "secret text"]})
        ask(client, {"inputs": "secret text"})
        client.get("/none")
    first, second, third = [r.getMessage() for r in caplog.records if r.name == "soup.serving"]
    assert first.endswith("ms, 3 pictures, 2 refused")
    assert " POST /invocations 200 " in first
    assert " POST /invocations 400 " in second
    assert " GET /none 404 " in third
    assert not [text for text in (first, second, third) if "secret" in text or A[:20] in text]


def test_the_folder_s_model_is_served(tmp_path: Path) -> None:
    """Two models give other answers, so that the tests above are of theirs."""
    other = Classifier(put(tmp_path, tiny(seed=9)))
    with TestClient(application(other, LIMITS, HOSTS), "http://127.0.0.1") as client:
        rows = ask(client, {"inputs": [A]}).json()["predictions"]
    assert rounded(rows) == rounded(other.rows(other.read([A])))
