"""The command of the stages, the pipeline and the doctor.

python -m flows STAGE [--params FILE] [--quiet]
python -m flows study NAME [--params FILE] [--quiet]
"""

import argparse
from collections.abc import Sequence
from typing import Any

from prefect import Flow

from flows import as_command, command, doctor
from flows.pipeline import pipeline
from flows.project import Record, root
from flows.stages import STAGES
from flows.study import PURPOSE as STUDY
from flows.study import flow_of


def main(words: Sequence[str] | None = None) -> None:
    """Run the command of these words; default: those of the command line."""
    parser = argparse.ArgumentParser("python -m flows", epilog=command.EXIT_CODES)
    parts = parser.add_subparsers(dest="name", metavar="STAGE", required=True)
    flows: dict[str, Flow[..., Record]] = {**STAGES, "pipeline": pipeline}
    for name, flow in flows.items():
        _add(parts, name, flow.description)
    _add(parts, "study", STUDY).add_argument("study", metavar="NAME", help="soup study --list")
    part = parts.add_parser("doctor", help=doctor.PURPOSE, description=doctor.PURPOSE)
    part.add_argument("--free", action="store_true", help="free slots that nobody holds")
    arguments = parser.parse_args(words)
    if arguments.name == "doctor":
        doctor.run(arguments.free)
        return
    if arguments.name == "study":
        flow = flow_of(arguments.study, arguments.params)
        command.run(flow, arguments.params, arguments.quiet)
        return
    # Fine-tunes are tasks, which only Prefect's engine runs.
    engine = arguments.name in ("pipeline", "finetune")
    command.run(flows[arguments.name], arguments.params, arguments.quiet, engine)


def _add(parts: Any, name: str, purpose: str | None) -> argparse.ArgumentParser:
    """The parser of a flow, with the options that all flows have."""
    part: argparse.ArgumentParser = parts.add_parser(
        name, help=purpose, description=purpose, epilog=command.EXIT_CODES
    )
    part.add_argument("--params", default=str(root() / "params.yaml"), help="parameter file")
    part.add_argument("--quiet", action="store_true", help="only the summary and errors")
    return part


if __name__ == "__main__":
    with as_command():
        main()
