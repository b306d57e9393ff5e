"""The server answers texts and pairs as MLflow's does, and refuses what it cannot use."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from soup.serving import TextClassifier
from soup.serving.app import application
from tests.serving.worlds import HOSTS, LIMITS, ask, rounded

A, B, C = "The cat likes a dog", "the bee fears an eel today and then again", "an owl"

REQUESTS = {
    "split": {"dataframe_split": {"columns": ["text"], "data": [[A], [B]]}},
    "split of pairs": {
        "dataframe_split": {"columns": ["id", "text_pair", "text"], "data": [[1, B, A], [2, C, C]]}
    },
    "records": {"dataframe_records": [{"text": A}, {"text": B, "id": 7}]},
    "records of pairs": {"dataframe_records": [{"text": A, "text_pair": B}, {"text": C}]},
    "instances": {"instances": [A, B]},
    "instances of pairs": {"instances": [[A, B], [C, A]]},
    "instances of records": {"instances": [{"text": A, "text_pair": C}]},
    "inputs": {"inputs": [A, B, C]},
    "inputs of pairs": {"inputs": [[A, B], [B, C]]},
    "inputs by column": {"inputs": {"text": [A, B]}},
    "inputs of pairs by column": {"inputs": {"text": [A, B], "text_pair": [C, A]}},
    "a refused one": {"inputs": [A, " ", B]},
    "all refused": {"inputs": [""]},
}


@pytest.fixture(scope="module")
def classifier(text_soup: Path) -> TextClassifier:
    return TextClassifier(text_soup)


@pytest.fixture
def client(classifier: TextClassifier) -> Iterator[TestClient]:
    with TestClient(application(classifier, LIMITS, HOSTS), "http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def peer(text_soup: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """MLflow's own server of the same model without a signature, with which it takes all forms."""
    import mlflow
    from mlflow.models import Model
    from mlflow.pyfunc import scoring_server

    from soup.tracking import save_pyfunc

    folder = tmp_path_factory.mktemp("peer") / "model"
    save_pyfunc(text_soup, folder)
    description = Model.load(str(folder))
    description.signature = None
    description.save(str(folder / "MLmodel"))
    return TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(folder))))


@pytest.mark.parametrize("name", REQUESTS)
def test_it_answers_as_mlflow_s_server_does(
    client: TestClient, peer: TestClient, name: str
) -> None:
    ours, theirs = ask(client, REQUESTS[name]), ask(peer, REQUESTS[name])
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert rounded(ours.json()["predictions"]) == rounded(theirs.json()["predictions"])


def test_sentences_and_pairs_may_come_together(
    client: TestClient, classifier: TextClassifier
) -> None:
    rows = ask(client, {"inputs": [A, [B, C], "", A]}).json()["predictions"]
    expected = [classifier.predict([each])["probability"][0] for each in (A, (B, C))]
    assert [rows[0]["probability"], rows[1]["probability"]] == pytest.approx(expected, abs=1e-5)
    assert rows[2] == {
        "label": None, "probability": None, "probabilities": None, "error": "the text is empty",
    }  # fmt: skip
    assert rounded(rows)[3] == rounded(rows)[0]


WRONG = {
    "no texts": ({"inputs": []}, 400, "no texts were given"),
    "one text": ({"inputs": A}, 400, "inputs must hold a list of texts"),
    "no column": ({"dataframe_records": [{"x": A}]}, 400, r"column 'text', got \['x'\]"),
    "no column by column": ({"inputs": {"text_pair": [A]}}, 400, "column 'text', got"),
    "one text by column": ({"inputs": {"text": A}}, 400, "inputs must hold a list of texts"),
    "uneven columns": (
        {"inputs": {"text": [A, B], "text_pair": [C]}}, 400, "have different lengths"
    ),
    "half a character": (b'{"inputs": ["\\ud83e"]}', 400, "the body is no JSON"),
    "many texts": ({"inputs": [A] * 5}, 413, "5 texts in a request; at most 4 are taken"),
    "many lists": ({"inputs": [[[]] * 2_000]}, 413, "more than 2,000 lists$"),
    "many bytes": ({"inputs": ["A" * 20_000]}, 413, "send fewer or smaller texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_request_that_cannot_be_used_is_told_why(client: TestClient, name: str) -> None:
    request, status, told = WRONG[name]
    body: Any = request if isinstance(request, bytes) else json.dumps(request).encode()
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(answer.json()["message"])
    assert ask(client, {"inputs": [A]}).status_code == 200  # it goes on


def test_the_log_counts_texts(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "soup.serving"):
        ask(client, {"inputs": [A, ""]})
    assert caplog.messages[-1].endswith(", 2 texts, 1 refused")
    assert A not in caplog.text
