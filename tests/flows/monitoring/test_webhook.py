"""A webhook is told, and whatever it does, the run goes on: real servers, some of them bad."""

from collections.abc import Iterator

import pytest

from flows.monitoring import webhook
from flows.monitoring.webhook import notify, shown
from tests.flows.monitoring.listener import Listener


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    found = Listener()
    monkeypatch.setenv(webhook.ADDRESS, found.address)
    yield found
    found.release.set()
    found.server.shutdown()
    found.server.server_close()


def tell(said: list[str]) -> bool:
    figures, links = {"gain": 0.01}, {"soup": "http://mlflow/run"}
    return notify("success", "shapes: done", said.append, links, figures)


def test_it_is_told_once_in_words_that_slack_takes(listener: Listener) -> None:
    said: list[str] = []
    assert tell(said)
    assert listener.heard == [
        {
            "event": "success",
            "text": "shapes: done",
            "links": {"soup": "http://mlflow/run"},
            "figures": {"gain": 0.01},
        }
    ]
    assert said == []


def test_no_password_is_sent(listener: Listener) -> None:
    secret = "http://ada:s3cret@mlflow:5000"
    text = f"MLflow at {secret} does not answer"
    assert notify("failure", text, str, {"soup": f"{secret}/#/runs/1"}, {"error": secret})
    assert listener.heard == [
        {
            "event": "failure",
            "text": "MLflow at http://mlflow:5000 does not answer",
            "links": {"soup": "http://mlflow:5000/#/runs/1"},
            "figures": {"error": "http://mlflow:5000"},
        }
    ]


def test_without_an_address_nobody_is_told(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(webhook.ADDRESS)
    assert not tell([])
    assert listener.heard == []


def test_a_server_error_is_tried_once_more(listener: Listener) -> None:
    listener.answers = [500]
    said: list[str] = []
    assert tell(said)
    assert len(listener.heard) == 2
    assert said == []


@pytest.mark.parametrize(("answers", "tries"), [([500, 503, 200], 2), ([404, 200], 1)])
def test_what_is_not_taken_is_said_without_the_secret(
    listener: Listener, answers: list[int], tries: int
) -> None:
    said: list[str] = []
    listener.answers = list(answers)
    assert not tell(said)
    assert len(listener.heard) == tries
    (line,) = said
    assert f"HTTP {answers[tries - 1]}" in line
    assert f"http://127.0.0.1:{listener.server.server_port}/..." in line
    assert "was not told of the success" in line
    assert "SECRET" not in line


@pytest.mark.parametrize("how", ["hang", "trickle"])
def test_one_that_hangs_or_answers_a_byte_at_a_time_is_given_up(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.3)
    setattr(listener, how, True)
    said: list[str] = []
    assert not tell(said)  # it returns at all: the server would hold it for a minute
    assert "no answer within" in said[0]
    assert "SECRET" not in said[0]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/SECRET",
        "file:///etc/passwd?SECRET",
        "http://user:SECRET@[bad/",
        "http://127.0.0.1:99999/SECRET",
        "SECRET",
        "http://host/SECRET with spaces\n",
    ],
)
def test_an_address_that_is_none_breaks_nothing_and_stays_secret(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(webhook.ADDRESS, address)
    said: list[str] = []
    assert not tell(said)
    assert len(said) == 1
    assert "SECRET" not in said[0]


def test_an_address_is_shown_by_its_host_alone() -> None:
    shown_as = shown("https://user:pass@hooks.example.com/services/T0/B1/x?y=z")
    assert shown_as == "https://hooks.example.com/..."
