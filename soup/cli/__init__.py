"""The `soup` command: for those who have checkpoints. One verb a module."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from soup.cli.champions import champion
from soup.errors import BadInput, Failure

EPILOG = "Exit codes: 0 done; 1 failed, or models that cannot be averaged; 2 bad input."

app = typer.Typer(
    name="soup",
    help="Average fine-tuned models: check that they can be, choose those that help, prove it.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Models = Annotated[
    list[str],
    typer.Argument(
        help="Weights: a safetensors file, a shard index, a folder with either, or a URL.",
        metavar="A B C ...",
    ),
]
Model = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it so
    typer.Option(
        help="What the weights belong to: timm:NAME, open_clip:NAME, or a model.json. "
        "Not needed for soups of ours, which say it themselves."
    ),
]
Heldout = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Images to choose by, FOLDER/<class>/<image>: never those of the test."),
]
Base = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="The initialisation that the models were fine-tuned from."),
]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:0,cuda:1 (candidates are judged at once), or auto.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that the model takes at once.")]


@app.command(epilog=EPILOG)
def cook(
    models: Models,
    out: Annotated[Path, typer.Option("--out", "-o", help="The soup, one safetensors file.")],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="How to choose and weigh; see 'soup recipes'.")
    ] = "greedy",
    model: Model = None,
    heldout: Heldout = None,
    base: Base = None,
    option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", "-s", help="An option of the recipe: name=value."),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What to choose by: accuracy, top5, f1, matthews, loss.")
    ] = "accuracy",
    tie: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A candidate that changes nothing: keep (the paper) or reject."),
    ] = None,
    accumulate: Annotated[str, typer.Option(help="Sum in float64 or float32.")] = "float64",
    dtype: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of the soup: float32, float16, bfloat16; the first model's if none."),
    ] = None,
    recalibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Training images to compute the soup's BatchNorm statistics on."),
    ] = None,
    splits: Annotated[
        int, typer.Option(min=0, help="Cook again on so many halves: how much is selection?")
    ] = 0,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    mlflow: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Log the soup and its lineage to this MLflow server or database."),
    ] = None,
    experiment: Annotated[str, typer.Option(help="Its name in MLflow.")] = "soups",
    as_json: Json = False,
) -> None:
    """Average models, all or those that help.

    soup cook --recipe uniform --out OUT.safetensors A B C

    soup cook --model timm:NAME --heldout FOLDER --out OUT.safetensors A B C
    """
    from soup.cli.cook import cook as verb
    from soup.cli.cook_options import CookOptions, pairs

    verb(
        CookOptions(
            models, out, recipe, pairs(option or []), model, heldout, base, metric, tie,
            accumulate, dtype, recalibrate, splits, devices(device), batch_size, mlflow,
            experiment, as_json,
        )
    )  # fmt: skip


@app.command(epilog=EPILOG)
def recipes(as_json: Json = False) -> None:
    """List the recipes: when to use each, and what it needs."""
    from soup.cli.recipes import recipes as verb

    verb(as_json)


@app.command(epilog=EPILOG)
def inspect(
    models: Models,
    base: Base = None,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A PNG of distances, angles and, with --heldout, the way between two."),
    ] = None,
    model: Model = None,
    heldout: Heldout = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Look before averaging: do the models fit, do they share a base, how far apart are they?"""
    from soup.cli.inspect import inspect as verb

    verb(models, base, plot, model, heldout, devices(device), as_json)


@app.command(epilog=EPILOG)
def explain(
    models: Models,
    base: Base = None,
    model: Model = None,
    heldout: Heldout = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say why a soup does not help: why greedy keeps one, or uniform is worse than the best."""
    from soup.cli.explain import explain as verb

    verb(models, base, model, heldout, devices(device), as_json)


@app.command("import", epilog=EPILOG)
def import_(
    source: Annotated[str, typer.Argument(help="A .pt, .pth, .bin, .ckpt, or a folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    ema: Annotated[bool, typer.Option("--ema", help="Take the moving average inside.")] = False,
    key: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Where the weights are inside, if there are several: a.b."),
    ] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint to safetensors, once; no code in it is ever run."""
    from soup.cli.convert import convert as verb

    verb(source, out, ema, key, model, as_json)


@app.command(epilog=EPILOG)
def compare(
    models: Models,
    on: Annotated[
        list[Path], typer.Option(help="Labelled images, FOLDER/<class>/<image>; may be repeated.")
    ],
    model: Model = None,
    device: Device = "auto",
    batch_size: BatchSize = 256,
    as_json: Json = False,
) -> None:
    """Accuracy of each model on labelled images, with intervals, against the first (McNemar)."""
    from soup.cli.compare import compare as verb

    verb(models, on, model, devices(device), batch_size, as_json)


@app.command(epilog=EPILOG)
def predict(
    weights: Annotated[str, typer.Argument(help="The model.", metavar="WEIGHTS")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Model = None,
    classes: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Class names, one a line, where the model does not know them."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many classes an image.")] = 1,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Classify images."""
    from soup.cli.predict import predict as verb

    verb(weights, images, model, classes, top, devices(device), as_json)


app.add_typer(champion)


def devices(text: str) -> list[str]:
    """The devices named by --device."""
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


def main() -> None:
    """The entry point: errors that the user can mend are a message, not a traceback."""
    from soup.cli.terminal import console

    try:
        app()
    except (BadInput, FileNotFoundError, ValueError) as error:
        console.print("[red]error:[/]", str(error), markup=True, soft_wrap=True)
        sys.exit(2)
    except (Failure, OSError) as error:
        console.print("[red]error:[/]", str(error), soft_wrap=True)
        sys.exit(1)
