"""The gate itself, as it stands in a fine-tune's process (see `tests.gates`)."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "MODELSOUP_TEST_GATE"
CLOSED = "closed.json"
HELD = ".held"


def build(run_state: Any) -> None:
    """Build it into the module that keeps states: after a step, before its state is kept."""
    plain = run_state.RunStateFile.keep
    if plain.__name__ == "keep_at_gate":
        return

    def keep_at_gate(self: Any, step: int, *arguments: Any, **named: Any) -> None:
        _wait(self.path.parent.name, step, self.stop)
        plain(self, step, *arguments, **named)

    run_state.RunStateFile.keep = keep_at_gate


def _wait(name: str, step: int, told_to_stop: Callable[[], bool]) -> None:
    folder = Path(os.environ.get(FOLDER, "none"))
    try:
        closed = json.loads((folder / CLOSED).read_text())
    except FileNotFoundError:
        return
    if step != closed["step"] or closed["only"] not in ("", name):
        return
    sign = folder / f"{name}.{os.getpid()}{HELD}"
    sign.touch()
    while sign.exists() and not told_to_stop():
        time.sleep(0.02)
