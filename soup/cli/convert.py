"""soup import: checkpoints of other formats, converted once."""

from pathlib import Path
from typing import Annotated

import typer

from soup.cli.model_options import ModelOptions, with_model
from soup.cli.options import Json


@with_model
def convert(
    source: Annotated[
        str, typer.Argument(help="A .pt, .pth, .bin or .ckpt file, or a folder with shards.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    model: ModelOptions,
    ema: Annotated[
        bool,
        typer.Option("--ema", help="Take the exponential moving average that the file holds."),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="Where the weights are in the file, such as state.model, if it holds several."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint of another format to safetensors, running no code in it.

    soup import RUN.pt --out RUN.safetensors

    Files of torch, Lightning, timm, open_clip and Hugging Face are known. With --model timm:NAME,
    the names of the tensors become those of timm. What timm's checkpoint says of the size and
    colours of its images is kept, and so is what the options say.
    """
    from dataclasses import asdict

    from soup.cli.terminal import bold, print_json, say, warn
    from soup.errors import some
    from soup.models.conversion import convert as to_safetensors

    new_folder = not out.parent.exists()
    imported = to_safetensors(source, out, ema=ema, key=key, model=model.model, given=model.given())
    if imported.others and not key:
        warn(f"{source} holds other weights too, reached by --key: {', '.join(imported.others)}")
    if imported.beside:
        key = f"{imported.key}.model".removeprefix(".")
        listed = some(imported.beside, 4, last=" ")
        warn(f"the names keep 'model.', which {listed} lack: --key {key} takes the model alone")
    if as_json:
        print_json(asdict(imported))
        return
    if new_folder:
        say(f"made the folder {out.parent}")
    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in imported.dtypes.items())
    where = f", from {imported.key!r}" if imported.key else ""
    megabytes = f"{imported.size / 1e6:.1f} MB"
    say(bold(imported.path), f" {imported.layout}{where}: {dtypes}, {megabytes}")
    if imported.description:
        known = [f"{key} {value}" for key, value in imported.description.items() if value]
        say(f"  kept of the model: {', '.join(known)}")
    for what, names in (("prefixes stripped", imported.stripped), ("left out", imported.dropped)):
        if names:
            say(f"  {what}: {some(names, 6, last=' ')}")
    if imported.renamed:
        old, new = next(iter(imported.renamed.items()))
        say(f"  {len(imported.renamed)} renamed, such as {old} to {new}")
