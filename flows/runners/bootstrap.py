"""The one function that is sent to workers, by value: they need not know the project yet."""

import importlib
import os
import socket
import sys
from typing import Any


def there(root: str, function: str, *arguments: Any) -> Any:
    """Call a function of `flows.runners.worker`, of the project in a folder."""
    if not os.path.isfile(os.path.join(root, "flows", "runners", "other_side.py")):  # noqa: PTH113, PTH118
        return (
            f"{socket.gethostname()} does not see the project folder {root}; "
            "all hosts must share it, at the same path"
        )
    if root not in sys.path:
        sys.path.insert(0, root)
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = root + (os.pathsep + inherited if inherited else "")
    module = importlib.import_module("flows.runners.worker")
    return getattr(module, function)(root, *arguments)
