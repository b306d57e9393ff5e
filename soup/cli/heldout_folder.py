"""A folder of labelled images, opened for a model: what `--heldout FOLDER` judges on."""

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from torch import nn

from soup.cli.heldout_texts import open_text_evaluator
from soup.cli.model_options import REMEDY, ModelOptions
from soup.cli.terminal import progress, tell_left_out, warn
from soup.data.errors import Unreadable
from soup.data.loading.array_cache import DEFAULT_CACHE_GIB
from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Images, decoded
from soup.data.sources.folders import Checked, DataError, check, scan, without_images
from soup.data.split.manifest import Row, in_order, order_note, too_few
from soup.data.text.tables import SUFFIXES
from soup.errors import some
from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_cache import digest_of_logits, how_computed
from soup.files import of_value
from soup.models import Architecture, build, head_weights, require_size
from soup.models.batchnorm import BATCH, Recalibration, layers_that_differ, spread_evenly
from soup.models.building import outline_of
from soup.models.by_name import Resolved, resolve_architecture
from soup.models.transforms import image_input
from soup.weights import Weights, display_name, specs
from soup.weights.checkpoint import Checkpoint

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelsoup"


def open_evaluator(
    folder: Path,
    model: ModelOptions | str | None,
    weights: Checkpoint,
    devices: Sequence[str] = ("cpu",),
    batch_size: int = 256,
    as_json: bool = False,
    tell: Callable[[Resolved], None] = lambda _: None,
) -> Evaluator:
    """Read labelled images, `folder/<class>/<image>`, or a table of texts, for a model.

    Args:
        model: the options that name it; or 'timm:NAME', 'open_clip:NAME', a model.json, or None
            if the weights say it.
        weights: any of the models to be judged; the others are of the same architecture.
        as_json: a program reads the result: people are not told the order of classes.
        tell: is told the model and its input before any image is read.

    Raises:
        DataError: no images, or their classes are not those of the model's head, or this has one
            class alone.
        ModelError: the model is not known, or the weights do not fit it.
    """
    if folder.suffix.lower() in SUFFIXES:
        return open_text_evaluator(folder, weights, devices, batch_size, tell)
    found = in_order(image.label for image in scan(folder.resolve(), ".")[0])
    options = model if isinstance(model, ModelOptions) else ModelOptions(model)
    resolved = resolve_architecture(options.model, weights, found, options.given())
    tell(resolved)
    architecture = resolved.architecture
    outlined = outline_of(architecture)
    if not resolved.named:
        classes = _rows_by_number(found, architecture, outlined, weights)
        note = order_note(found)
        if classes != found:
            architecture = replace(architecture, classes=classes)
            outlined = outline_of(architecture)
            note = f"folder 0 is of row 0 of the head, {found[-1]} of row {found[-1]}"
            note += f"; {len(classes) - len(found)} of its {len(classes)} rows have no folder"
        if note and not as_json:
            warn(f"{folder}: {note}")
    else:
        extra = [name for name in found if name not in architecture.classes]
        if extra:
            raise DataError(
                f"{folder} has class folders that the model's head does not know: "
                f"{some(extra, 8, last=' ')}; it knows {some(architecture.classes, 8, last=' ')}"
            )
    _require_head(folder, found, outlined, architecture, weights)
    if problem := too_few(f"the model, judged on {folder},", architecture.classes):
        raise DataError(problem[0])
    first = build(architecture, weights, outlined=outlined)
    models = (first, *(deepcopy(first) for _ in devices[1:]))
    built = tuple(model.to(device) for model, device in zip(models, devices, strict=True))
    require_size(architecture, built[0], REMEDY)
    opened, skipped = _opened(folder, architecture, architecture.classes)
    return Evaluator(opened, architecture, built, batch_size, skipped)


def recalibration_on(
    folder: Path | None, count: int, evaluator: Evaluator, candidates: Sequence[Weights]
) -> Recalibration | None:
    """What recomputes BatchNorm statistics on training images, whose labels do not matter.

    Args:
        folder: of the training images; None for the evaluator's own images, where nothing is
            chosen by them.
        count: the most images to use.
        candidates: the models to be averaged.

    Returns:
        None if the statistics of the candidates do not differ, or if they have none.

    Raises:
        DataError: there are no images.
    """
    layers = layers_that_differ(evaluator.models[0], candidates)
    if not layers:
        return None
    images: Examples = evaluator.examples
    if folder is not None:
        images, skipped = _opened(folder, evaluator.architecture, None, count)
        tell_left_out(skipped)
    inputs = images.compact(spread_evenly(len(images), count))
    return Recalibration(inputs, images.prepare, min(evaluator.batch_size, BATCH), layers)


def logits_of(evaluator: Evaluator, weights: Checkpoint, digest: str) -> Logits:
    """The logits of a model on the evaluator's examples, float32, kept for other commands.

    Args:
        digest: of the model's files.

    Raises:
        ModelError: the weights do not fit the architecture.
    """
    examples, device = evaluator.examples.digest, next(evaluator.models[0].parameters()).device
    if not examples:
        return evaluator.logits(weights)
    how = how_computed(device.type, evaluator.batch_size)
    key = digest_of_logits(digest, examples, evaluator.architecture, f"exact, {how}", ())
    answers = AnswerStore(CACHE / "answers")
    logits = answers.find(key)
    if logits is None:
        logits = evaluator.logits(weights)
        answers.keep(key, logits)
    else:
        evaluator.advance(len(evaluator))
    return logits


def _opened(
    folder: Path,
    architecture: Architecture,
    classes: Sequence[str] | None,
    most: int | None = None,
) -> tuple[ImageExamples, tuple[str, ...]]:
    """The images of a folder, decoded, and what was left out.

    Args:
        classes: class names, whose positions are the labels; None: those of the folder.
        most: how many images are opened, spread over the folder in mixed order; None for all.
    """
    root = folder.resolve()
    listed, misplaced = scan(root, ".")
    misplaced = without_images(root, ".", {image.label for image in listed}, misplaced)
    if most is not None:
        listed = [listed[index] for index in spread_evenly(len(listed), most)]
    inputs = image_input(architecture)

    def opened(good: Sequence[Checked]) -> Images:
        if not good:
            raise DataError(f"{folder}: none of its {len(listed)} images can be read")
        rows = [Row(image.path, image.label, "heldout", content) for image, content, _ in good]
        # Sizes and times tell whether the cache is of these files.
        times = of_value([(root / row.path).stat().st_mtime_ns for row in rows])
        names = classes if classes is not None else in_order(row.label for row in rows)
        store = ImageStore(root, CACHE / "images", DEFAULT_CACHE_GIB, progress=progress)
        return decoded(store, rows, names, inputs.resize, f"{inputs.name}, as of {times}")

    with progress(f"reading {folder}", len(listed)) as advance:
        # Each is decoded once, for the cache.
        good, bad = check(root, listed, "header", lambda: advance(1))
    try:
        images = opened(good)
        all_decoded = images.pixels is not None
    except Unreadable:
        all_decoded = False
    if not all_decoded:
        good, damaged = check(root, [image for image, *_ in good], "decode")
        bad += damaged
        images = opened(good)
    skipped = tuple(f"{folder}/{p.path}: {p.reason}" for p in [*misplaced, *bad])
    return as_examples(images, inputs), skipped


def _rows_by_number(
    found: tuple[str, ...], architecture: Architecture, model: nn.Module, weights: Weights
) -> tuple[str, ...]:
    """A name for each row of the head: `found`, or the row's number, if they are numbers from 0 on
    of which some are left out."""
    (name, _), *_ = head_weights(architecture, model).items()
    given = specs(weights).get(name)
    rows = given.shape[0] if given is not None and given.shape else 0
    named = {int(folder): folder for folder in found if folder.isdecimal()}
    if len(named) == len(found) < rows and 0 in named and max(named) < rows:
        return tuple(named.get(row, str(row)) for row in range(rows))
    return found


def _require_head(
    folder: Path,
    found: Sequence[str],
    model: nn.Module,
    architecture: Architecture,
    weights: Weights,
) -> None:
    """Say so if nothing but the number of classes is wrong."""
    (name, own), *_ = head_weights(architecture, model).items()
    given = specs(weights).get(name)
    if given is not None and given.shape and given.shape[0] != len(own):
        raise DataError(
            f"{folder} has {len(found)} class folders ({some(found, 8, last=' ')}), but {name} of "
            f"{display_name(weights, 1)} has {given.shape[0]} rows: give one folder for each class "
            "of the head, in its order, or a model.json that names its classes"
        )
