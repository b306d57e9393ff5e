"""Start the ranks of one fine-tune by hand, on one machine or on several.

    torchrun --nproc-per-node 2 -m soup.train.distributed JOB.json

The pipeline itself starts ranks from its fork server (`soup/train/worker_process.py`) and writes
their job to the run's folder as `job.json`. The ranks write their results to that folder, and the
pipeline takes the results from there. All machines must see the same folders.
"""

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter

from soup.errors import BadInput
from soup.files import read_json, write_json
from soup.train.finetune import Job, finetune
from soup.train.hyperparameters import Hyperparameters
from soup.train.process_group import joined

PATHS = ("start", "development", "root", "folder", "cache")


class UnknownJob(BadInput, ValueError):
    """A file that does not describe a fine-tune; the message says why."""


def write(job: Job, path: Path) -> None:
    """Write a job as JSON, with absolute paths."""
    plain = {field.name: getattr(job, field.name) for field in fields(job)}
    plain["hyperparameters"] = job.hyperparameters.as_dict()
    write_json(path, plain | {name: str(plain[name].resolve()) for name in PATHS})


def read(path: Path) -> Job:
    """Read a job that `write` wrote.

    Raises:
        UnknownJob: the file is missing, or does not describe a fine-tune.
    """
    try:
        plain = read_json(path)
        Job(**plain | {"hyperparameters": Hyperparameters.from_dict(plain["hyperparameters"])})
        return TypeAdapter(Job).validate_python(plain)  # the keys are right; are the values?
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnknownJob(
            f"{path} describes no fine-tune: {reason}; "
            "one of an earlier version is written anew when its pipeline is started again"
        ) from None


def main(arguments: list[str]) -> None:
    """Run one rank of the job whose file is named by the only argument."""
    if len(arguments) != 1:
        raise UnknownJob("usage: torchrun --nproc-per-node N -m soup.train.distributed JOB.json")
    job = read(Path(arguments[0]))

    def log(step: int, metrics: Mapping[str, float]) -> None:
        print(f"step {step}", *(f"{name} {value:.5g}" for name, value in metrics.items()))

    with joined(job.devices) as ranks:
        results = finetune(job, log, print, ranks)
        if isinstance(results, dict):
            for name, result in results.items():
                print(f"{name or 'fine-tune'}: {result.score:.2%} held-out, {result.folder}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
