"""More requests than can be held are refused, and those held are answered."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from soup.serving.app import application
from soup.serving.classifier import Classifier
from tests.serving.worlds import HOSTS, LIMITS, A, B, ask, rounded
from tests.waiting import until


class Held:
    """A classifier whose thread waits while it reads, until it is let go on."""

    noun, columns, batch = Classifier.noun, Classifier.columns, Classifier.batch

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def read(self, images: Any) -> Any:
        self.reading.set()
        assert self.go_on.wait(60)
        return self._classifier.read(images)

    def rows(self, images: Any) -> Any:
        self.batches.append(len(images))
        return self._classifier.rows(images)


def test_more_requests_than_can_be_held_get_503_and_those_held_are_answered(
    classifier: Classifier,
) -> None:
    held: Any = Held(classifier)
    with (
        TestClient(application(held, LIMITS, HOSTS), "http://127.0.0.1") as client,
        ThreadPoolExecutor() as threads,
    ):
        first = threads.submit(ask, client, {"inputs": [A]})
        assert held.reading.wait(60)
        one, two = (threads.submit(ask, client, {"inputs": [A]}) for _ in range(2))
        until(lambda: one.done() or two.done(), "one request too many")
        (answer,) = [job.result() for job in (one, two) if job.done()]
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["message"] == "the server is busy: try again in a second"
        assert client.get("/ping").status_code == 200  # it is busy, not away
        held.go_on.set()
        assert sorted(job.result().status_code for job in (first, one, two)) == [200, 200, 503]
        assert ask(client, {"inputs": [A]}).status_code == 200


def test_no_more_bytes_are_held_than_the_limit(classifier: Classifier) -> None:
    held: Any = Held(classifier)
    limits = replace(LIMITS, waiting=100, held=12_000)
    large = {"inputs": ["A" * 5_000]}
    with (
        TestClient(application(held, limits, HOSTS), "http://127.0.0.1") as client,
        ThreadPoolExecutor() as threads,
    ):
        jobs = [threads.submit(ask, client, large) for _ in range(3)]
        until(lambda: any(job.done() for job in jobs), "a request too many")
        held.go_on.set()
        assert sorted(job.result().status_code for job in jobs) == [200, 200, 503]


def test_who_announces_much_and_sends_nothing_keeps_nobody_out(classifier: Classifier) -> None:
    app = application(classifier, replace(LIMITS, seconds=60), HOSTS)

    async def slow(app: Any, count: int) -> list[int]:
        async def never() -> Any:
            await asyncio.Event().wait()

        async def nothing(_: Any) -> None: ...

        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        async def whole() -> Any:
            return {"type": "http.request", "body": json.dumps({"inputs": [A]}).encode()}

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b""}
        announced = [*headers, (b"content-length", b"20000")]
        async with app.router.lifespan_context(app):
            tasks = [
                asyncio.ensure_future(app({**scope, "headers": announced}, never, nothing))
                for _ in range(count)
            ]
            await asyncio.sleep(0)
            await app({**scope, "headers": headers}, whole, send)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return statuses

    assert asyncio.run(slow(app, 100))[0] == 200


def test_what_waits_meanwhile_is_answered_in_one_pass(classifier: Classifier) -> None:
    held: Any = Held(classifier)
    limits = replace(LIMITS, waiting=100)
    app = application(held, limits, HOSTS)
    with TestClient(app, "http://127.0.0.1") as client, ThreadPoolExecutor() as threads:
        requests = [{"inputs": [A]}, {"inputs": [B, "AAAA"]}, {"inputs": [7]}, {"inputs": [B]}]
        first = threads.submit(ask, client, requests[0])
        assert held.reading.wait(60)
        others = [threads.submit(ask, client, request) for request in requests[1:]]
        until(lambda: app.state.invocations.waiting == 4, "all requests")
        held.go_on.set()
        answers = [job.result().json()["predictions"] for job in (first, *others)]
    assert held.batches == [5]
    alone = [classifier.rows(classifier.read(request["inputs"])) for request in requests]
    assert [rounded(rows) for rows in answers] == [rounded(rows) for rows in alone]


def test_a_body_that_does_not_arrive_is_not_waited_for(classifier: Classifier) -> None:
    app = application(classifier, replace(LIMITS, seconds=0.05), HOSTS)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
    asyncio.run(app({**scope, "query_string": b""}, never, send))
    assert sent[0]["status"] == 408
    assert b"did not arrive within 0.05 s" in sent[1]["body"]
    assert app.state.invocations.waiting == 0
