"""soup predict: the classes that a model gives to images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soup.cli.model_options import REMEDY, ModelOptions, tell_input, with_model
from soup.cli.options import Device, Json, devices
from soup.errors import BadInput, some

if TYPE_CHECKING:
    from soup.weights.checkpoint import Checkpoint


@with_model
def predict(
    weights: Annotated[str, typer.Argument(help="The model's weights.", metavar="WEIGHTS")],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files, or folders of them; for a text model tables with a column 'text'.",
            metavar="IMAGES ...",
        ),
    ],
    model: ModelOptions,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Class names, one a line, where the model does not know them."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to print an image.")] = 1,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Classify images or texts with a model.

    soup predict soup.safetensors photographs --top 3

    It prints the likeliest classes of each image with their probabilities.
    """
    import numpy as np
    import torch

    from soup.cli.image_files import image_files, readable
    from soup.cli.terminal import amount, percent, print_json, table, tell_left_out, warn
    from soup.data.loading.examples import as_examples
    from soup.data.loading.images import Images
    from soup.data.text.tables import SUFFIXES
    from soup.evaluation.metrics import predicted, with_finite_maximum
    from soup.evaluation.predict import predict as logits_of
    from soup.models import build, require_size
    from soup.models.by_name import numbered, resolve_architecture
    from soup.models.text_by_folder import text_architecture
    from soup.models.transforms import image_input
    from soup.weights.checkpoint import Checkpoint

    chosen = devices(device)
    checkpoint = Checkpoint(weights)
    if images[0].suffix.lower() in SUFFIXES:
        _predict_texts(checkpoint, images, top, chosen[0], as_json)
        return
    if text_architecture(checkpoint) is not None:
        raise BadInput(
            f"{weights} is a model of texts: give it a table with a column 'text' "
            f"({', '.join(SUFFIXES)}), not {images[0]}"
        )
    names = tuple(name for name in classes.read_text().split("\n") if name) if classes else ()
    resolved = resolve_architecture(model.model, checkpoint, names or ("0",), model.given())
    architecture, has_names, _ = resolved
    if not names:
        architecture = numbered(resolved, checkpoint)
    tell_input({}, resolved)
    if names and has_names and names != architecture.classes:
        raise BadInput(f"{classes} names other classes than the model knows")
    network = build(architecture, checkpoint).to(chosen[0])
    require_size(architecture, network, REMEDY)
    found, others = image_files(images)
    inputs = image_input(architecture)
    files, pixels, bad = readable(found, inputs.resize)
    tell_left_out([*bad, *others])
    unlabelled = Images(pixels, np.zeros(len(files), np.int64), ())
    logits = logits_of(network, as_examples(unlabelled, inputs))
    shares = torch.from_numpy(with_finite_maximum(logits)).softmax(1).numpy()
    likeliest = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    answers: list[dict[str, Any]] = [
        {"image": str(file), "classes": {architecture.classes[i]: float(row[i]) for i in best}}
        for file, row, best in zip(files, shares, likeliest, strict=True)
    ]
    undecided = np.flatnonzero(predicted(shares) < 0)
    for index in undecided:
        answers[index]["classes"] = {}
    if len(undecided):
        warn(
            f"{weights}: no class for {some([files[i] for i in undecided], 5)}, because the "
            "logits are NaN; 'soup inspect' says whether the weights are broken"
        )
    if as_json:
        print_json(answers)
        return
    rows = [
        (answer["image"], name, percent(probability))
        for answer in answers
        for name, probability in answer["classes"].items()
    ]
    table(amount(len(files), "image"), ["image", "class", ">%"], rows)


def _predict_texts(
    checkpoint: "Checkpoint", tables: Sequence[Path], top: int, device: str, as_json: bool
) -> None:
    from soup.cli.predict_texts import predict_texts
    from soup.cli.terminal import amount, percent, print_json, table, tell_left_out
    from soup.models.text_by_folder import text_architecture, unsupported

    architecture = text_architecture(checkpoint)
    if architecture is None:
        raise BadInput(
            f"{tables[0]} is a table of texts, and {checkpoint.path} no text model: "
            f"{unsupported(checkpoint) or 'its description is of another'}"
        )
    answers, left_out = predict_texts(checkpoint, architecture, tables, top, device)
    tell_left_out(left_out)
    if as_json:
        print_json(answers)
        return
    if architecture.predicts_numbers:
        numbers = [
            (a["row"], a["text"][:60], "NaN" if a["number"] is None else f"{a['number']:.3f}")
            for a in answers
        ]
        table(amount(len(answers), "text"), ["row", "text", ">number"], numbers)
        return
    rows = [
        (answer["row"], answer["text"][:60], name, percent(probability))
        for answer in answers
        for name, probability in answer["classes"].items()
    ]
    table(amount(len(answers), "text"), ["row", "text", "class", ">%"], rows)
