"""soup predict: a model's answers on images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from soup.cli.terminal import percent, print_json, table
from soup.data.loading.examples import as_examples
from soup.data.loading.images import Images
from soup.data.reading.color_modes import rgb
from soup.data.sources.folders import IMAGE_SUFFIXES, DataError
from soup.errors import BadInput
from soup.evaluation.predict import predict as logits_of
from soup.models import build, library
from soup.models.by_name import resolve_architecture
from soup.models.transforms import image_input
from soup.weights.checkpoint import Checkpoint


def predict(
    weights: str,
    images: Sequence[Path],
    model: str | None,
    classes: Path | None,
    top: int,
    devices: Sequence[str],
    as_json: bool,
) -> None:
    """The likeliest classes of each image."""
    checkpoint = Checkpoint(weights)
    names = tuple(classes.read_text().split("\n")) if classes else ()
    names = tuple(name for name in names if name)
    architecture, named = resolve_architecture(
        model, checkpoint, names or _numbered(model, checkpoint)
    )
    if names and named and names != architecture.classes:
        raise BadInput(f"{classes} names other classes than the model knows")
    built = build(architecture, checkpoint).to(devices[0])
    files = _files(images)
    inputs = image_input(architecture)
    pixels = np.stack([_read(file, inputs.resize) for file in files])
    read = Images(pixels, np.zeros(len(files), np.int64), ())
    logits = logits_of(built, as_examples(read, inputs))
    shares, places = torch.from_numpy(logits).softmax(1).topk(min(top, logits.shape[1]))
    found = [
        {
            "image": str(file),
            "classes": {architecture.classes[i]: float(p) for i, p in zip(at, share, strict=True)},
        }
        for file, at, share in zip(files, places.tolist(), shares.tolist(), strict=True)
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        (file, label, percent(share))
        for file, one in zip(files, found, strict=True)
        for label, share in one["classes"].items()  # type: ignore[attr-defined]
    ]
    table(f"{len(files)} images", ["image", "class", ">%"], rows)


def _numbered(model: str | None, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Numbers for class names, as many as the head has rows."""
    if model is None or model.endswith(".json"):
        return ()
    architecture, _ = resolve_architecture(model, checkpoint, ("0",))
    built = build(architecture)
    head = library(architecture.library).head(built)
    name = next(name for name, module in built.named_modules() if module is head) + ".weight"
    rows = checkpoint.specs[name].shape[0] if name in checkpoint else 1
    return tuple(str(index) for index in range(rows))


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
        found += inside if path.is_dir() else [path]
    missing = [str(path) for path in found if not path.is_file()]
    if missing or not found:
        raise DataError(f"no such image: {', '.join(missing) or ', '.join(map(str, paths))}")
    return found


def _read(file: Path, resize: "object") -> np.ndarray:
    assert callable(resize)
    try:
        with Image.open(file) as image:
            return np.asarray(resize(rgb(image)), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not an image that can be read: {error}") from None
