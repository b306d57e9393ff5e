"""One thread that answers requests, in batches: all that wait share one forward pass.

The thread reads requests one at a time, so that only one parsed request is in memory. Of a picture
it keeps only the pixels of the model's input. Texts of several requests are batched by length.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from soup.serving.open_classifier import AnyClassifier
from soup.serving.protocol import Limits, Refusal, entries_of, predictions

logger = logging.getLogger("soup.serving")


class Answered(NamedTuple):
    """The body of an answer, and the numbers of its pictures or texts and of those refused."""

    body: bytes
    entries: int
    refused: int


@dataclass
class _Job:
    body: bytes
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Answered]"
    entries: Sequence[Any] = field(default=())


class Batcher:
    """Answers the requests of one process."""

    def __init__(self, classifier: AnyClassifier, limits: Limits) -> None:
        self._classifier, self._limits = classifier, limits
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="classifier", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer the waiting requests, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    async def answer(self, body: bytes) -> Answered:
        """Return the answer to the body of a request.

        Raises:
            Refusal: the body cannot be used, or the model failed.
        """
        loop = asyncio.get_running_loop()
        job = _Job(body, loop, loop.create_future())
        del body  # the job deletes it after parsing
        self._waiting.put(job)
        return await job.future

    def _run(self) -> None:
        going = True
        while going:
            job = self._waiting.get()
            jobs: list[_Job] = []
            count = 0
            while job is not None:
                if self._read(job):
                    jobs.append(job)
                    count += len(job.entries)
                if count >= self._classifier.batch:
                    break
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    break
            going = job is not None
            if jobs:
                self._classify(jobs)

    def _read(self, job: _Job) -> bool:
        """Read the entries of a request; if it is refused, answer it and return False."""
        model = self._classifier
        try:
            entries = entries_of(job.body, self._limits, model.columns, model.noun)
            job.entries = model.read(entries)
        except Refusal as refusal:
            _tell(job, refusal)
        except Exception:
            _fail([job])
        else:
            return True
        finally:
            job.body = b""
        return False

    def _classify(self, jobs: Sequence[_Job]) -> None:
        try:
            rows = self._classifier.rows([entry for job in jobs for entry in job.entries])
            start = 0
            for job in jobs:
                own = rows[start : start + len(job.entries)]
                start += len(job.entries)
                refused = sum(row["error"] is not None for row in own)
                _tell(job, Answered(predictions(own), len(own), refused))
        except Exception:
            _fail(jobs)


def _fail(jobs: Sequence[_Job]) -> None:
    logger.exception("a request failed")
    for job in jobs:
        _tell(job, Refusal(500, "the request failed; the log of the server says why"))


def _tell(job: _Job, result: Answered | Refusal) -> None:
    job.loop.call_soon_threadsafe(_resolve, job.future, result)


def _resolve(future: "asyncio.Future[Answered]", result: Answered | Refusal) -> None:
    if future.done():  # the client has gone, or has its answer
        return
    if isinstance(result, Refusal):
        future.set_exception(result)
    else:
        future.set_result(result)
