"""Give damaged input of every kind to the code that reads it, and count what is refused.

    python -m benchmarks.fuzz                  # 10,000 cases of each kind: half an hour
    python -m benchmarks.fuzz --cases 500 tar  # some kinds only, by a part of their names

Each case is a valid input that was changed in a few places (`tests/fuzz/mutations.py`). It must be
read, or refused with a short error message that names the file, and nothing written
(`tests/fuzz/target.py`). Any other outcome is a fault: the table counts distinct faults, and the
exit code is 1.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from benchmarks.machine import machine
from tests.fuzz.target import Fault, Target, refused
from tests.fuzz.targets import TARGETS

# A folder in memory, if the system has one: on disk, the benchmark takes twice as long.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112


def counted(target: Target, cases: int, start: int) -> tuple[Counter[str], Counter[str]]:
    """How many cases were refused and accepted, and how often each fault came."""
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
        folder = Path(place) / "input"
        folder.mkdir()
        target.ground(folder)

        rng = Random(start)
        for _ in range(cases):
            case = target.make(rng)
            try:
                counts["refused" if refused(target, folder, case) else "accepted"] += 1
            except Fault as fault:
                cause = fault.__cause__
                frames = traceback.extract_tb(cause.__traceback__ if cause else None)
                own = [f for f in frames if "/soup/" in f.filename or "/flows/" in f.filename]
                where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
                text = str(fault).replace(place, "")
                counts["faults"] += 1
                faults[text[:70] + where] += 1
                if faults[text[:70] + where] == 1:
                    print(f"  {text[:250]}{where}\n    {case[:250]!r}", file=sys.stderr)
    return counts, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of targets")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = [t for t in TARGETS if not options.names or any(n in t.name for n in options.names)]
    print(machine())
    print(f"{'target':32} {'cases':>7} {'refused':>8} {'accepted':>9} {'faults':>7} {'s':>6}")
    total: Counter[str] = Counter()
    for target in chosen:
        begun = time.perf_counter()
        counts, faults = counted(target, options.cases, options.seed)
        total += counts
        figures = (sum(counts.values()), counts["refused"], counts["accepted"], counts["faults"])
        took = time.perf_counter() - begun
        print("{:32} {:7} {:8} {:9} {:7} {:6.0f}".format(target.name, *figures, took), flush=True)
        for what, count in faults.most_common():
            print(f"    {count} x {what}", flush=True)
    print(f"{sum(total.values())} cases, {total['faults']} faults")
    sys.exit(1 if total["faults"] else 0)


if __name__ == "__main__":
    main()
