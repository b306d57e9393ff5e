"""Each way of a benchmark is a program of its own, that ends with a line of JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def answer(program: Path, *arguments: object, told: str | None = None) -> dict[str, Any]:
    """Run a Python program; what its last line says.

    Args:
        told: its standard input.
    """
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
