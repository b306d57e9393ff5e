"""soup import: checkpoints of other formats, converted once."""

from pathlib import Path
from typing import Annotated

import typer

from soup.cli.model_options import ModelOptions, with_model
from soup.cli.options import Json


@with_model
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A .pt, .pth, .bin or .ckpt file, or a folder with shards or an adapter."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    model: ModelOptions,
    base: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Of an adapter of PEFT: the weights it was trained on."),
    ] = None,
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
    colours of its images is kept, and so is what the options say. With --base, an adapter's folder
    becomes the whole model that it makes of its base.
    """
    from dataclasses import asdict

    from soup.cli.terminal import bold, print_json, say, warn
    from soup.errors import BadInput, some
    from soup.models.conversion import convert as to_safetensors
    from soup.weights.adapters import is_adapter

    if is_adapter(source):
        _merge(source, base, out, as_json)
        return
    if base is not None:
        raise BadInput(f"--base is for adapters of PEFT, and {source} is none: leave it out")
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


def _merge(source: str, base: str | None, out: Path, as_json: bool) -> None:
    """Write the model that an adapter makes of its base."""
    from soup.cli.checkpoints import merger
    from soup.cli.terminal import bold, print_json, say
    from soup.errors import BadInput
    from soup.weights import save

    merged = merger([source], base)(source)
    if out.exists() and any(out.samefile(file) for file in merged.files):
        raise BadInput(f"--out {out} is one of the inputs: give another name")
    digest = merged.digest()
    save(merged, out, {**merged.metadata, "source": Path(source).name, "sha256": digest})
    if as_json:
        print_json({"path": out, "layout": "PEFT", "tensors": len(merged), "sha256": digest})
    say(bold(out), f" {source} merged into {base}, {out.stat().st_size / 1e6:.1f} MB")
