"""soup try: a page on this machine that shows what models answer."""

from pathlib import Path
from typing import Annotated

import typer


def try_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The results of a finished project, out/EXPERIMENT, or a folder with a soup's "
            "folder and those of its models."
        ),
    ],
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Of the page. [default: one that is free, from 7860 on]"
        ),
    ] = None,
    single: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The folder of the single model, where the best is not known: of a soup that "
            "chose nothing.",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Open a page that shows what best single model, soup and ensemble answer.

    soup try out/shapes

    Drop a picture or type a sentence: the page shows the five likeliest classes of each, and the
    time that each takes. It is on this machine alone, and asks nothing of others. Ctrl-C ends it.
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:  # told before models are read
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
    from soup.cli.terminal import bold, say
    from soup.cli.tried_folder import entries_of
    from soup.serving.page import serve
    from soup.serving.side_by_side import SideBySide

    entries = entries_of(folder, single)
    models = SideBySide(entries)
    title = folder.resolve().name

    def ready(address: str) -> None:
        say(bold(address), f"shows {', '.join(entry.title for entry in entries)} of {title}")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    serve(models, title, port, ready)
