"""Options that several verbs have, each declared once."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from soup.errors import BadInput

EPILOG = "Exit codes: 0 done; 1 failed, or models that cannot be averaged; 2 bad input."

Models = Annotated[
    list[str],
    typer.Argument(
        help="Weights: safetensors files, shard indexes (.json), folders with either, or URLs.",
        metavar="A B C ...",
    ),
]
Heldout = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Labelled images to choose by, FOLDER/<class>/<image>, or a table of texts. Never use "
        "the test images: what is chosen by them scores too well on them.",
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Weights of the initialisation that the models were fine-tuned from."
    ),
]
Recalibrate = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Training images, FOLDER/<class>/<image>, to recompute the BatchNorm statistics of "
        "each average on, with --heldout. Never use held-out or test images.",
    ),
]
CalibrationImages = Annotated[
    int,
    typer.Option(
        min=2,
        help="How many of the --recalibrate images are used, spread over its classes. Each "
        "average that is judged costs a pass over them.",
    ),
]
CALIBRATION_IMAGES = 256  # soup.models.batchnorm.IMAGES, which would import torch
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, or several, such as cuda:0,cuda:1, which judge candidates at once; auto "
        "takes the GPU if there is one."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in one forward pass of the model.")]


class Verb(TyperCommand):
    """A command that does not convert its options' values where a shell asks for completions.

    Typer converts them by pydantic, which takes longer to import than the rest of the request.
    """

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        if ctx.resilient_parsing:
            for parameter in parameters:
                parameter.process_value = _unconverted  # type: ignore[method-assign, assignment]
        return parameters

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options; below them, under a heading of their own, those that have one."""
        parameters = self.params
        panels: dict[Any, list[Any]] = {}
        for option in parameters:
            panels.setdefault(getattr(option, "rich_help_panel", None), []).append(option)
        self.params = panels.pop(None)
        super().format_options(ctx, formatter)
        self.params = parameters
        for heading, options in panels.items():
            with formatter.section(heading):
                formatter.write_dl([record for o in options if (record := o.get_help_record(ctx))])


class Verbs(TyperGroup):
    """A group of commands whose own options are flags.

    A flag that is not given is False: of None, Typer would make False by pydantic.
    """

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            parameter.default = parameter.default or False
        if ctx.resilient_parsing:
            # Typer wraps what it tells zsh and fish, which take each line for a completion.
            os.environ.setdefault("TERMINAL_WIDTH", "10000")
        return parameters


def _unconverted(_context: object, value: object) -> object:
    return value


def devices(text: str) -> list[str]:
    """The devices that `--device` names, each of which torch can use.

    Raises:
        BadInput: torch cannot use one of them.
    """
    import torch

    if text == "auto":
        return ["cuda"] if torch.cuda.is_available() else ["cpu"]
    try:
        for name in text.split(","):
            torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"--device {text}: torch cannot use it here: {reason}") from None
    return text.split(",")
