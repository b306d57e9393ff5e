"""How long `soup --help` and a completion take, against the bare imports that they cannot avoid.

    python -m benchmarks.help            # quiet, then beside a busy loop on every core

Each figure is the median wall time of REPEATS runs, taken in turns so that a busy moment of the
machine meets all of them alike. `import soup` is set against `import torch`.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

REPEATS = 9
PYTHON = sys.executable
COMMAND = [PYTHON, "-m", "soup.cli"]


class Case(NamedTuple):
    """A command, and which other one it is set against."""

    command: Sequence[str]
    against: str
    environment: Mapping[str, str] = {}


def completion(line: str) -> Case:
    words = str(len(line.split(" ")) - 1)
    environment = {"_SOUP_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": words}
    main = "import sys; sys.argv[0] = 'soup'; from soup.cli import main; main()"
    return Case([PYTHON, "-c", main], "import typer, rich", environment)


CASES = {
    "import typer, rich": Case([PYTHON, "-c", "import typer, rich"], "import typer, rich"),
    "soup --help": Case([*COMMAND, "--help"], "import typer, rich"),
    "soup cook --help": Case([*COMMAND, "cook", "--help"], "import typer, rich"),
    "soup champion promote --help": Case(
        [*COMMAND, "champion", "promote", "--help"], "import typer, rich"
    ),
    "soup <TAB>": completion("soup "),
    "soup cook --<TAB>": completion("soup cook --"),
    "soup cook --recipe <TAB>": completion("soup cook --recipe "),
    "import torch": Case([PYTHON, "-c", "import torch"], "import torch"),
    "import soup": Case([PYTHON, "-c", "import soup"], "import torch"),
    "import soup; soup.average": Case([PYTHON, "-c", "import soup; soup.average"], "import torch"),
}


def seconds(case: Case) -> float:
    start = time.perf_counter()
    subprocess.run(
        case.command,
        env={**os.environ, **case.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def measure() -> dict[str, float]:
    """The median time of each case in seconds."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(REPEATS):
        for name, case in CASES.items():
            times[name].append(seconds(case))
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, times: Mapping[str, float]) -> None:
    print(f"\n{title}\n\n| | ms | against | ratio |\n|---|--:|---|--:|")
    for name, case in CASES.items():
        ratio = times[name] / times[case.against]
        print(f"| `{name}` | {1000 * times[name]:.0f} | `{case.against}` | {ratio:.2f} |")


def main() -> None:
    show("quiet", measure())
    loops = [
        subprocess.Popen([PYTHON, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        show(f"beside {len(loops)} busy loops", measure())
    finally:
        for loop in loops:
            loop.kill()


if __name__ == "__main__":
    main()
