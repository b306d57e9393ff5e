"""soup push: a model folder, uploaded to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from soup.cli.options import Json


def push(
    folder: Annotated[
        Path,
        typer.Argument(help="A model's folder, as the pipeline and 'soup cook' write it."),
    ],
    name: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository visible to its owner alone.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch; made if it is not there.")
    ] = None,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Upload a model by modelsoup",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be uploaded, and ask no server.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload a model folder to the Hugging Face hub, in one commit.

    soup push out/shapes/soup OWNER/NAME

    Weights (safetensors), configurations, tokenizers and the model card are uploaded; other files
    are left out by name. A folder without a card gets one of what its files say. The token is that
    of 'hf auth login' or HF_TOKEN; HF_ENDPOINT names another hub.
    """
    from soup.cli.folder_card import folder_card
    from soup.cli.model_upload import planned, upload
    from soup.cli.terminal import bold, print_json, say, table, warn
    from soup.errors import some
    from soup.models.licence import CARD_FILE

    plan = planned(folder, name)
    if plan.left_out:
        warn(f"left out: {some(plan.left_out, 10, last=' ')}: no part of a model that is published")
    card = None if plan.has_card else folder_card(folder, name.rpartition("/")[2])
    if not plan.has_card and card is None:
        warn(f"{folder} has no README.md: the model's page will not say what it is")
    if not plan.has_config:
        warn(f"{folder} has no configuration, so that no library opens it: upload its whole folder")
    files = dict(plan.files) | ({} if card is None else {CARD_FILE: len(card.encode())})
    rows = [(file, f"{size:,}") for file, size in files.items()]
    report = {"files": files, "left_out": list(plan.left_out), "name": name}
    if dry_run:
        table(f"would go to {name}", ["file", ">bytes"], rows)
        if as_json:
            print_json(report)
        return
    address = upload(folder, plan, name, private, revision, message, card)
    say(bold(address), f" {len(rows)} files, {sum(files.values()) / 1e6:.1f} MB")
    if as_json:
        print_json({**report, "url": address})
