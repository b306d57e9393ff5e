"""The process that fine-tunes are forked from, which has torch and the models' library ready.

It never touches a GPU, so that each process that is forked from it may use CUDA.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from soup.models.building import MODULES

_starting = threading.Lock()
IMPORTED = ["soup.train.finetune", "timm", "soup.models.timm_models"]  # once, for all fine-tunes


@lru_cache(maxsize=1)
def fork_server() -> ForkServerContext:
    """What starts processes; the fork server is started with the first, unless it was before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def start_fork_server(library: str = "timm") -> None:
    """Start the fork server, whose imports take seconds, in the background.

    Args:
        library: of the models that are fine-tuned; it is imported too.
    """
    fork_server().set_forkserver_preload(_modules(library))
    forkserver.ensure_running()


def fork_fork_server(library: str = "timm") -> None:
    """Fork the fork server from this process, so that both have what is imported once.

    Only for a program that has computed nothing yet: the threads that share an operator of torch
    are lost in a fork, and a child would wait for them. On systems other than Linux, where
    libraries of the system do not bear a fork, it is started in the background.

    Args:
        library: of the models that are fine-tuned; it is imported, if it was not.
    """
    if sys.platform != "linux":
        start_fork_server(library)
        return
    for name in _modules(library):
        importlib.import_module(name)
    gc.freeze()  # a collection in one process would write to memory that both share
    resource_tracker.ensure_running()  # which is spawned by the same function
    private: Any = util
    spawn = private.spawnv_passfds
    private.spawnv_passfds = _fork
    try:
        forkserver.set_forkserver_preload([])
        forkserver.ensure_running()
    finally:
        private.spawnv_passfds = spawn


def start_process(target: Callable[..., object], *args: object, name: str) -> BaseProcess:
    """Fork a process from the fork server, which calls `target`.

    It ends when this process ends, however it ends. Ctrl-C does not end it: in a terminal that
    reaches all processes, and this one decides.
    """
    process = fork_server().Process(target=_call, args=(target, *args), name=name, daemon=True)
    # The main module is hidden, which a child would import: the imports of a flow take seconds.
    with _starting:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = program
    return process


def _call(target: Callable[..., object], *args: object) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target(*args)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _modules(library: str) -> list[str]:
    # Which transformers imports when a model is made: 1.3 s in each fine-tune.
    late = ["transformers.modeling_utils"] if library == "transformers" else []
    return [*dict.fromkeys([*IMPORTED, MODULES[library], *late])]


def _fork(_program: str, arguments: Sequence[Any], passed: Sequence[int]) -> int:
    """Do in a forked process what a new interpreter is asked to do; the id of the process.

    Args:
        arguments: of the interpreter; the last is the code of multiprocessing's fork server.
        passed: file descriptors that it keeps, beside the standard ones.
    """
    child = os.fork()
    if child:
        return child
    try:
        # It must not hold open what others wait for the end of: pipes to servers and to itself.
        below = 2
        for kept in [*sorted(passed), os.sysconf("SC_OPEN_MAX")]:
            os.closerange(below + 1, kept)
            below = kept
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.enable()  # whoever forks it may have it switched off for the imports
        running: Any = forkserver
        running._forkserver.__init__()  # its lock is held by the parent
        exec(arguments[-1], {})
    finally:
        os._exit(1)
