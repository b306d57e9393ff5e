"""Python imports this when it starts with the folder on its path; it does what tests ask for.

MODELSOUP_TEST_GATE: a folder; the gate of `tests.gates` is built into fine-tunes.
MODELSOUP_TEST_PATIENCE: seconds; what would be given up sooner is waited for so long, for a machine
that is slow is not one that is dead.
FAKETIME_DONT_FAKE_MONOTONIC: libfaketime is preloaded; `time.sleep` works all the same.
"""

import os
import select
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import fine_tune_gate  # now, for the path may be another when it is needed

GATE, PATIENCE = os.environ.get("MODELSOUP_TEST_GATE"), os.environ.get("MODELSOUP_TEST_PATIENCE")
KEEPER = "soup.train.run_state"
PATIENT = {
    "flows.server.client": "AWAY",
    "flows.signals": "GRACE",
    "soup.tracking.server_check": "AWAY",
    "soup.train.worker_process": "PATIENCE",
}


def _change(module: ModuleType) -> None:
    if module.__name__ == KEEPER and GATE:
        fine_tune_gate.build(module)
    if module.__name__ in PATIENT and PATIENCE:
        name = PATIENT[module.__name__]
        assert isinstance(getattr(module, name), float)
        setattr(module, name, float(PATIENCE))


class _AfterImport:
    @staticmethod
    def find_spec(
        name: str, path: list[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != KEEPER and name not in PATIENT:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        plain = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            plain(module)
            _change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if GATE or PATIENCE:
    sys.meta_path.insert(0, _AfterImport())  # type: ignore[arg-type]

if "FAKETIME_DONT_FAKE_MONOTONIC" in os.environ:
    # Python sleeps until a monotonic time, which libfaketime 0.9.10 then answers with EINVAL.
    time.sleep = lambda seconds: select.select([], [], [], float(seconds))  # type: ignore[assignment]
