"""soup export: a model for programs that have neither this project nor PyTorch's Python."""

from pathlib import Path
from typing import Annotated, Any

import typer

from soup.cli.options import Json
from soup.errors import BadInput

FORMATS = ("onnx", "torch", "open_clip")


def export(
    folder: Annotated[Path, typer.Argument(help="A model's folder, with model.json.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx; torch (torch.export); or open_clip, the folder of a whole CLIP.",
            autocompletion=lambda: list(FORMATS),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file or folder to write. [default: in FOLDER]"),
    ] = None,
    on: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGES",
            help="Images or folders of them, or a table of texts, to check the file on; repeat it "
            "for more.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Another model, such as the best single one, to time it against."
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="open_clip: the folder that has the text tower."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX or torch.export, and check that the file answers like it.

    soup export out/shapes/soup --format onnx --on data/test --against BEST

    The largest difference of the logits is printed. A file that differs is not kept. The batch may
    have any size. The input is what 'docs/formats.md' says: normalised pixels, or tokens.
    """
    from soup.cli.exported import check, timed
    from soup.cli.terminal import bold, print_json, say
    from soup.models.exporting import FORMATS as SUFFIXES

    if form not in FORMATS:
        raise BadInput(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    if not (folder / "model.json").is_file():
        raise BadInput(f"{folder} has no model.json: give a folder of the pipeline or 'soup cook'")
    if form == "open_clip":
        _whole_clip(folder, base, out or folder)
        say(
            bold(out or folder), 'opens with open_clip.create_model_and_transforms("local-dir:...")'
        )
        return
    file = out or folder / f"model{SUFFIXES[form]}"
    checked = check(folder, file, form, on or [])
    say(bold(file), f" {file.stat().st_size / 1e6:.1f} MB")
    say(
        f"largest difference of the logits on {checked.compared} {checked.what}: "
        f"{checked.difference:.2g} (the largest is {checked.largest:.3g})"
    )
    report: dict[str, Any] = {"file": str(file), **checked._asdict()}
    if against is not None:
        report["milliseconds"] = timed(folder, file, against, form, on or [])
        ours, theirs = report["milliseconds"].values()
        say(
            f"{ours:.3g} ms for each input, and {theirs:.3g} ms of {against}: "
            f"{ours / theirs:.2f} times"
        )
    if as_json:
        print_json(report)


def _whole_clip(folder: Path, base: Path | None, target: Path) -> None:
    from soup.models import Architecture
    from soup.models.clip_folder import with_text_tower
    from soup.weights.checkpoint import Checkpoint

    if Architecture.load(folder / "model.json").library != "open_clip":
        raise BadInput(f"{folder} is no model of open_clip")
    if base is None:
        raise BadInput("give --base FOLDER: the base's folder, which has the text tower")
    if not with_text_tower(Checkpoint(folder), base, target):
        raise BadInput(
            f"{base} has no whole CLIP with this image tower (open_clip_model.safetensors and "
            "open_clip_config.json)"
        )
