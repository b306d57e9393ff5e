"""A gate in the middle of fine-tunes: one that comes to it waits until the test lets it go on.

No machine is too fast or too slow for a test that holds what it is about. Where the gate is closed,
a fine-tune waits after a step, before its state would be kept; it goes on when the test says so, or
when it is told to stop. What holds it is in `tests.gate`, and not in the project's sources.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soup.train.finetune import Job
from tests.gate import fine_tune_gate
from tests.gate.fine_tune_gate import CLOSED, FOLDER, HELD
from tests.waiting import PATIENCE, until

# On the path of a Python process, it has the gate built in; without FOLDER it changes nothing.
BUILT_IN = str(Path(__file__).with_name("gate"))
PATIENT = {"MODELSOUP_TEST_PATIENCE": str(PATIENCE)}


@dataclass(frozen=True)
class Held:
    """A process that waits at the gate.

    Attributes:
        name: of the folder of its fine-tune, which in a pipeline is its digest.
        pid: its process.
    """

    sign: Path
    name: str
    pid: int

    def go_on(self) -> None:
        self.sign.unlink()


@dataclass(frozen=True)
class Gate:
    """It is open until it is closed; `folder` is where test and fine-tunes meet."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process whose fine-tunes have it; its PYTHONPATH must have BUILT_IN too."""
        return {FOLDER: str(self.folder)}

    def close(self, step: int, only: str = "") -> None:
        """Hold fine-tunes after a step, all or the one whose folder has a name."""
        aside = self.folder / "aside"
        aside.write_text(json.dumps({"step": step, "only": only}))
        aside.replace(self.folder / CLOSED)

    def open(self) -> None:
        """Let all go on, and hold none from now on."""
        (self.folder / CLOSED).unlink(missing_ok=True)
        for sign in self.folder.glob(f"*{HELD}"):
            sign.unlink()

    def held(self) -> list[Held]:
        return [
            Held(sign, sign.name.split(".")[0], int(sign.name.split(".")[1]))
            for sign in self.folder.glob(f"*{HELD}")
        ]

    def arrival(self) -> Held:
        """Wait until one waits here."""
        return until(self.held, "a fine-tune at the gate")[0]


class GatedJob(Job):
    """A fine-tune that has the gate in whatever process it is sent to; its gate is in its folder's
    parent.
    """

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        from soup.train import run_state

        self.__dict__.update(state)
        os.environ[FOLDER] = str(gate_folder(self))
        fine_tune_gate.build(run_state)


@contextmanager
def gated(job: Job, step: int) -> Iterator[GatedJob]:
    """The job, held after a step until the block ends or it is told to stop."""
    held = GatedJob(**vars(job))
    gate = Gate(gate_folder(held))
    gate.close(step)
    try:
        yield held
    finally:
        gate.open()


def gate_folder(job: Job) -> Path:
    """Where the gate of `gated` is."""
    return job.folder.with_name(f"{job.folder.name}-gate")
