"""Passes in lanes against an earlier commit: quiet, beside one busy loop, and beside two.

    python benchmarks/lanes.py [--quick] [--against COMMIT]
    python benchmarks/lanes.py --made FOLDER --models 12

Both versions run at the same time, each in a process that waits while the other computes, so that
each figure has its partner seconds away; without busy loops the fastest of three rounds counts,
because a pass of a small model takes less than a second. At most 6 minutes on 2 cores that are not
otherwise busy, with --quick 2. Weights and pictures are random numbers; a batch is of at most 256
images. With --made, models and held-out pictures are those of a folder of `mehl_models.py`, and
`evaluate` is timed alone: the answers of all models, from the files.

The limit is the forward pass alone: of one thread, on inputs that are there already, times the
cores. It is measured without busy loops only.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from machine import REPO, machine

PEER = Path(__file__).parent / "peers" / "laning.py"
BEFORE = "c3ce1b0"  # the last commit without lanes
RESNET = {"channels": [32, 64, 128, 256], "norm_layer": "groupnorm1"}
MODELS: dict[str, list[Any]] = {  # model of timm, arguments, pixels, images
    "ResNet-10-T-at-32": ["resnet10t", RESNET, 32, 8192],
    "Lite0-at-96": ["tf_efficientnet_lite0", {}, 96, 512],
    "Lite0-at-224": ["tf_efficientnet_lite0", {}, 224, 96],
    "ViT-B/32-at-224": ["vit_base_patch32_224", {}, 224, 64],
}
QUIET = 3  # rounds at least
WORKS = ("predict", "evaluate", "features")


class Version:
    """A process that computes with one version of the code."""

    def __init__(self, code: Path, models: dict[str, list[Any]]) -> None:
        # One thread for each core, as if nobody had said otherwise.
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        self.process = subprocess.Popen(
            [sys.executable, str(PEER), json.dumps(models)],
            env={**environment, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def __call__(self, work: str, model: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(work, model, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a version ended; the lines above say why")
        return line


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def code_of(commit: str, folder: Path) -> Path:
    """The package as it was at a commit."""
    packed = subprocess.run(
        ["git", "-C", str(REPO), "archive", commit, "soup"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", default=BEFORE, help="a commit")
    parser.add_argument("--quick", action="store_true", help="predict alone, half the images")
    parser.add_argument("--made", type=Path, help="what `mehl_models.py` makes")
    parser.add_argument("--models", type=int, default=12, help="of --made")
    parser.add_argument("--rounds", type=int, default=1, help="the fastest of which counts")
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    works = WORKS[:1] if given.quick else WORKS
    models = {
        name: [*of, images // 2 if given.quick else images]
        for name, (*of, images) in MODELS.items()
    }
    if given.made is not None:
        works = WORKS[1:2]
        models = {f"{given.models}-models": [str(given.made.resolve()), given.models]}
    print(machine(), flush=True)
    cores = len(os.sched_getaffinity(0))
    rows, peaks = [], dict[str, float]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {"before": code_of(given.against, folder), "now": REPO}
        versions = {name: Version(code, models) for name, code in codes.items()}
        for version in versions.values():
            stack.callback(version.process.kill)
        for model in models:  # what is made at first use is made
            for version in versions.values():
                for work in works:
                    version(work, model)
        for loops in given.loops:
            stack.enter_context(turn := ExitStack())
            turn.enter_context(busy(loops))
            for model in models:
                limit = None
                if not loops and given.made is None:
                    limit = versions["now"]("forward", model)["rate"] * cores
                for work in works:
                    rates = dict.fromkeys(versions, 0.0)
                    for _ in range(given.rounds if loops else max(QUIET, given.rounds)):
                        for name, version in versions.items():
                            answer = version(work, model)
                            rates[name] = max(rates[name], answer["rate"])
                            peaks[name] = answer["peak"]
                    rows.append(
                        {
                            "model": model.replace("-at-", " at "),
                            "work": work,
                            "busy loops": loops,
                            **{f"{name}, images/s": rate for name, rate in rates.items()},
                            "faster by": rates["now"] / rates["before"],
                            "limit, images/s": limit,
                            "limit / now": limit and limit / rates["now"],
                        }
                    )
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            turn.close()
    print(f"\nagainst commit {given.against}; {given.rounds} rounds")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))
    print("peak memory, MB: " + ", ".join(f"{n} {peak:.0f}" for n, peak in peaks.items()))


if __name__ == "__main__":
    main()
