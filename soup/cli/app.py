"""The verbs of the `soup` command, each loaded when it is used.

A verb is a function in the module of its name. The function's parameters are the verb's options.
`soup --help` and completion in a shell show many verbs and run none, so they load none.
"""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from soup.cli.options import EPILOG, Verb, Verbs

# The first line of each verb's own help.
VERBS = {
    "cook": "Average models: all of them, or those that help on held-out images.",
    "recipes": "List the recipes: when to use each, what it needs, which options it has.",
    "inspect": "Check whether models can be averaged: files, shapes, common base, distances.",
    "explain": "Explain why averaging does not help: the causes found, with numbers and remedies.",
    "import": "Convert a checkpoint of another format to safetensors, running no code in it.",
    "compare": "Compare the accuracy of models on labelled images, with intervals and tests.",
    "study": "Answer a question of the paper from a sweep: a table, a figure and a sentence.",
    "predict": "Classify images or texts with a model.",
    "try": "Open a page that shows what best single model, soup and ensemble answer.",
    "serve": "Serve a model over HTTP, as 'mlflow models serve' does.",
    "export": "Write a model as ONNX or torch.export, and check that the file answers like it.",
    "push": "Upload a model folder to the Hugging Face hub, in one commit.",
    "champion": "Show or change the champion: the registered version that is in use.",
}
MODULES = {"import": "convert", "try": "try_"}  # a keyword of Python names no module


class LazyVerbs(Verbs):
    """The verbs, each of which is imported when it is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, summary in VERBS.items():
            self.add_command(TyperCommand(name, short_help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the summary of the verb that is used by the verb itself."""
        name, summary, rest = super().resolve_command(ctx, args)
        return name, None if summary is None else load(str(name)), rest


def load(name: str) -> Any:
    """The command of a verb, with its options.

    Args:
        name: one of `VERBS`.
    """
    module = MODULES.get(name, name)
    verb = getattr(import_module(f"soup.cli.{module}"), module)
    if not isinstance(verb, typer.Typer):
        function, verb = verb, typer.Typer(add_completion=False, rich_markup_mode=None)
        verb.command(name, cls=Verb, epilog=EPILOG)(function)
    return typer.main.get_command(verb)


app = typer.Typer(
    name="soup",
    cls=LazyVerbs,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: what Rich needs to draw boxes takes as long as the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _commit() -> str:
    """The commit of the checkout that this package stands in; '' if it is installed elsewhere."""
    from pathlib import Path

    from soup.commit import git_commit

    root = Path(__file__).resolve().parents[2]
    return git_commit(root, digits=12) if (root / ".git").exists() else ""


def _show_version(wanted: bool) -> None:
    if wanted:
        from soup import __version__

        commit = _commit()
        typer.echo(f"soup {__version__}" + (f" ({commit})" if commit else ""))
        raise typer.Exit


@app.callback()
def soup(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Average fine-tuned models: check that they can be, choose those that help, prove it."""
