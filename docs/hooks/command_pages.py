"""The page of the command `soup`: what each verb's `--help` says."""

from collections.abc import Iterator

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from soup.cli.app import VERBS, load

HEAD = """# The command `soup`

What `soup VERB --help` prints. [Checkpoints](../checkpoints.md) explains the verbs by example.
"""


def helps(command: typer.core.TyperCommand, name: str, level: str = "##") -> Iterator[str]:
    """The help of a command and of those below it, as sections in Markdown."""
    context = typer.Context(command, info_name=name, terminal_width=80, max_content_width=80)
    yield f"{level} `{name}`\n\n```text\n{command.get_help(context)}\n```\n"
    for below, verb in getattr(command, "commands", {}).items():
        yield from helps(verb, f"{name} {below}", level + "#")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    sections = [section for verb in VERBS for section in helps(load(verb), f"soup {verb}")]
    page = "\n".join([HEAD, *sections])
    files.append(File.generated(config, "reference/commands.md", content=page))
    return files
