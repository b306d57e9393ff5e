"""The verbs of `soup champion`, with their options."""

from typing import Annotated, Optional

import typer

HELP = """The champion: which registered version is in use, how it came to be, how to change it.

Of a registered model, 'challenger' is the newest version, 'champion' the one in use, 'previous' the
champion before. A version is promoted if it makes fewer errors than the champion on the same
held-out images; every promotion, refusal, roll-back and copy is kept with who, when and why."""
EPILOG = (
    "The registry is MLFLOW_TRACKING_URI, or mlflow.db of the project in this folder; the model is "
    "that of its params.yaml. MODELSOUP_ACTOR says who acts, else user@host. "
    "Exit codes: 0 done; 1 refused or failed; 2 bad input."
)

champion = typer.Typer(name="champion", help=HELP, epilog=EPILOG, no_args_is_help=True)

Name = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it so
    typer.Option("--model", "-m", help="The registered model."),
]
Uri = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--registry", help="MLflow's server or database."),
]
Which = Annotated[str, typer.Argument(help="A version's number, or an alias.", metavar="VERSION")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]


@champion.command(epilog=EPILOG)
def show(model: Name = None, registry: Uri = None, as_json: Json = False) -> None:
    """List the versions with their results, and what was done to them."""
    from soup.cli.champion import show as verb

    verb(model, registry, as_json)


@champion.command(epilog=EPILOG)
def promote(
    version: Which = "challenger",
    model: Name = None,
    registry: Uri = None,
    force: Annotated[
        bool, typer.Option("--force", help="Past the gate, whatever the figures; needs --why.")
    ] = False,
    why: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Kept beside the figures."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a version to the gate: compare it with the champion, and promote it if it is better.

    soup champion promote

    soup champion promote 7 --force --why "the champion was trained on mislabelled images"
    """
    from soup.cli.champion import promote as verb

    verb(version, model, registry, force, why, as_json)


@champion.command(epilog=EPILOG)
def rollback(
    why: Annotated[str, typer.Option(help="Kept with who and when.")],
    to: Annotated[str, typer.Option(help="A version's number, or an alias.")] = "previous",
    model: Name = None,
    registry: Uri = None,
    as_json: Json = False,
) -> None:
    """Make the champion before it the champion again, or any version.

    soup champion rollback --why "wrong on night images"

    What was rolled back is not promoted again but by hand. A second roll-back undoes the first.
    """
    from soup.cli.champion import rollback as verb

    verb(model, registry, to, why, as_json)


@champion.command(epilog=EPILOG)
def copy(
    version: Which = "champion",
    to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="MLflow's server or database to copy to; default: the same."),
    ] = None,
    as_model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--as", help="Name of the model there; default: the same."),
    ] = None,
    experiment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Experiment there that holds the weights; default: the model's name."),
    ] = None,
    model: Name = None,
    registry: Uri = None,
    as_json: Json = False,
) -> None:
    """Copy a version to another registry or name, every file checked against its digest.

    soup champion copy --to https://mlflow.production --as shapes

    Its lineage tags go along and its source is named; it is 'challenger' there until promoted.
    """
    from soup.cli.champion import copy as verb

    verb(version, model, registry, to, as_model, experiment, as_json)
