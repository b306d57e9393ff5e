"""The event log of a fine-tune in another process: lines of JSON in a shared file.

It works with every runner, because all hosts of a sweep share the project folder.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from soup.errors import BadInput
from soup.files import parse_json
from soup.pipeline.sweep.watcher import Watcher
from soup.train.worker_process import Crashed, Failed

BEAT = 10.0  # seconds between two signs of life
# What follows the kind of a line.
LINES: dict[str, tuple[Any, ...]] = {
    "beat": (),
    "step": (str, int, dict),
    "done": (str, str),
    "say": (str,),
    "made": (object,),
    **dict.fromkeys(("refused", "crashed", "failed"), (str,)),
}
OFTEN = 0.3  # seconds between two steps that are written, and between two looks at the file


class Refused(BadInput, RuntimeError):
    """Another host cannot run the fine-tune at all; the message says what it lacks."""


class Writer:
    """The watcher of a fine-tune on the worker's side: writes what it is told to the event log."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._last_step = 0.0
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beats.join()
        self._file.close()

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        scored = any(metric.startswith("heldout/") for metric in metrics)
        if scored or now - self._last_step >= OFTEN:
            self._last_step = now
            self._write("step", name, step, dict(metrics))

    def done(self, name: str, message: str) -> None:
        self._write("done", name, message)

    def say(self, message: str) -> None:
        self._write("say", message)

    def outcome(self, outcome: Any) -> None:
        """Write what the fine-tune returned or raised."""
        match outcome:
            case BadInput():
                self._write("refused", str(outcome))
            case Crashed():
                self._write("crashed", str(outcome))
            case BaseException():
                self._write("failed", str(outcome) or type(outcome).__name__)
            case _:
                self._write("made", outcome)

    def _write(self, *line: Any) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _beat(self) -> None:
        while not self._ended.is_set():
            self._write("beat")
            self._ended.wait(BEAT)


class Reader:
    """Reads an event log as it grows, and tells a watcher what it says.

    Attributes:
        heard: when the last line was read, by the clock; None before the first.
    """

    def __init__(
        self, path: Path, watcher: Watcher, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._watcher, self._clock = path, watcher, clock
        self._read = 0
        self._outcome: tuple[str, Any] | None = None
        self.heard: float | None = None

    def read(self) -> None:
        """Read the lines that were written since the last call, but for one without its end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return
        lines = text[: text.rfind(b"\n") + 1]
        self._read += len(lines)
        for line in lines.splitlines():
            self.heard = self._clock()
            try:
                kind, *values = parse_json(line, f"line {line[:80]!r}", finite=False)
                whole = list(map(isinstance, values, LINES[kind])) == [True] * len(LINES[kind])
                if len(values) != len(LINES[kind]) or not whole:
                    raise ValueError(f"line {line[:80]!r} is none of an event log")
            except (ValueError, KeyError, TypeError) as error:
                self._outcome = ("crashed", f"{self._path} is damaged: {error}")
                return
            self._tell(kind, *values)

    def _tell(self, kind: str, *values: Any) -> None:
        match kind:
            case "step":
                self._watcher.step(*values)
            case "done":
                self._watcher.done(*values)
            case "say":
                self._watcher.say(*values)
            case "made" | "refused" | "crashed" | "failed":
                self._outcome = (kind, *values)

    @property
    def ended(self) -> bool:
        """Whether the fine-tune has written its outcome."""
        return self._outcome is not None

    def outcome(self, ending: str) -> Any:
        """Return what the fine-tune returned.

        Args:
            ending: how the worker ended; the reason where the fine-tune wrote no outcome.

        Raises:
            Failed: the fine-tune failed.
            Crashed: the fine-tune or its worker was killed.
            Refused: the fine-tune could not even begin.
        """
        match self._outcome:
            case None:
                raise Crashed(ending)
            case ("made", result):
                return result
            case ("refused", reason):
                raise Refused(reason)
            case ("crashed", reason):
                raise Crashed(reason)
            case (_, reason):
                raise Failed(reason)


def follow(reader: Reader, over: Callable[[], bool], every: float = OFTEN) -> None:
    """Read until the worker is over, and then once more: what it wrote last."""
    while True:
        ended = over()
        reader.read()
        if ended:
            return
        time.sleep(every)
