"""The one function that is sent to workers, by value: they need not know the project yet."""

import importlib
import os
import socket
import sys
from typing import Any

WORKER = ("flows", "runners", "worker")  # the module, as the parts of its name and of its path


def call_worker(root: str, function: str, *arguments: Any) -> Any:
    """Call a function of `flows.runners.worker` on the host that this function was sent to.

    Args:
        root: the project folder, from which the module is imported.
        function: its name; its first argument is `root`.
        arguments: the others.

    Returns:
        What the function returns, or why it could not be called.
    """
    if not os.path.isfile(os.path.join(root, *WORKER) + ".py"):  # noqa: PTH113, PTH118
        return (
            f"{socket.gethostname()} does not see the project folder {root}; "
            "all hosts must share it, at the same path"
        )
    if root not in sys.path:
        sys.path.insert(0, root)
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = root + (os.pathsep + inherited if inherited else "")
    module = importlib.import_module(".".join(WORKER))
    return getattr(module, function)(root, *arguments)
