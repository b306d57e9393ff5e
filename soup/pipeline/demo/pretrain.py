"""The embedded demo's own pretraining: the base model, and the reference that set A is filtered by.

The base learns to name shape, texture and colour of the drawn images. As in CLIP, classes are then
recognised without having been trained for: the zero-shot head of a class (shape, texture) is the
sum of the two heads' weights, as a text tower would make from its words.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from soup.config.data import Data, ShapesWorld
from soup.config.params import Base, Pretrain
from soup.cores import cores
from soup.data.loading.examples import as_examples, to_tensor
from soup.data.loading.images import Images
from soup.data.progress import Advance, Track, no_progress
from soup.evaluation.metrics import correct
from soup.evaluation.predict import predict
from soup.files import of_value, write_text
from soup.models import Architecture, ModelError, timm_models
from soup.models.transforms import image_input, normalise
from soup.pipeline.demo import image_folders, shapes
from soup.threads import one_thread
from soup.train.fork_server import fork_server, start_process
from soup.train.loop import Batch, fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from soup.train.step import Loss

SHAPE = slice(0, len(shapes.SHAPES))
TEXTURE = slice(SHAPE.stop, SHAPE.stop + len(shapes.TEXTURES))
COLOUR = slice(TEXTURE.stop, TEXTURE.stop + 3)
MODEL = "resnet10t"
KWARGS = {"channels": [16, 32, 48, 64], "stem_width": 8, "norm_layer": "groupnorm1"}
# An independent one: with the base as its own examiner, set A would hold what the base's
# descendants share as a weakness, and flip the sign of their gains.
REFERENCE = Pretrain(epochs=5, lr=8e-3, seed=2**31)
REFERENCE_IMAGES = 16_000
_begun: dict[str, Connection] = {}  # to the processes that pretrain a base
SHIFTS = ("v2", "sketch", "r", "objectnet", "a")


def draw(
    world: ShapesWorld,
    root: Path,
    shifts: Collection[str] = SHIFTS,
    report: Callable[[str], None] = lambda _: None,
    track: Track = no_progress,
) -> None:
    """Draw the image set into `root`, with these of its shifts, unless it is there already."""
    chosen = [name for name in SHIFTS if name in shifts]
    drawn: Any = world.model_dump(mode="json", exclude={"upstream"})
    made = of_value(drawn if chosen == [*SHIFTS] else [drawn, chosen])
    marker = root / "world.txt"
    if marker.is_file() and marker.read_text() == made:
        return
    hard = _reference(world, report, track) if "a" in chosen else _nothing_is_hard
    report("drawing the images")
    sizes = {"train": world.train, "test": world.test} | dict.fromkeys(chosen, world.shift)
    shutil.rmtree(root, ignore_errors=True)
    image_folders.write(root, world.seed, sizes, hard)
    write_text(marker, made)


def _nothing_is_hard(_: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.zeros(len(labels), bool)  # only set A asks


def _reference(
    world: ShapesWorld, report: Callable[[str], None], track: Track
) -> image_folders.Hard:
    """Which pictures a reference model gets wrong: those are set A."""
    report("pretraining the reference model that set A is filtered by")
    architecture = _architecture(
        Base(model=MODEL, kwargs=KWARGS, weights="embedded", pretrain=REFERENCE)
    )
    inputs = image_input(architecture)
    images, labels = shapes.render(world.seed + 2**31, "train", 0, REFERENCE_IMAGES)
    outputs, targets = len(shapes.CLASSES), torch.from_numpy(labels)
    reference = _train(architecture, REFERENCE, images, targets, outputs, cross_entropy(), track)

    def hard(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        logits = predict(reference, as_examples(Images(images, labels, ()), inputs))
        return ~correct(logits, labels)

    return hard


def begin(base: Base, data: Data) -> None:
    """Begin to pretrain the base in another process, for `pretrained` to wait for.

    Nothing is begun twice, or without a second core. The process ends with this one.
    """
    if data.shapes is None or base.pretrain is None or cores() == 1:
        return
    if (key := _key(base, data.shapes)) in _begun:
        return
    ours, theirs = fork_server().Pipe(duplex=False)
    start_process(_send_base, theirs, base, data.shapes, name="pretraining")
    theirs.close()
    _begun[key] = ours


def pretrained(
    base: Base, data: Data, classes: tuple[str, ...], track: Track = no_progress
) -> tuple[Architecture, nn.Module]:
    """The demo's base model, with its zero-shot head.

    Raises:
        ModelError: the images are not the embedded set.
    """
    if data.shapes is None or base.pretrain is None or classes != tuple(sorted(shapes.CLASSES)):
        raise ModelError(
            "base.weights: embedded goes with data.shapes; give a file or 'pretrained'"
        )
    architecture = _architecture(base)
    begun = _begun.pop(_key(base, data.shapes), None)
    sent = _received(begun, architecture, track) if begun else None
    model = _base(base, data.shapes, track) if sent is None else sent
    zero_shot(model)
    return architecture, model


def _base(base: Base, world: ShapesWorld, track: Track) -> nn.Module:
    """The base model with a head of factors."""
    assert base.pretrain is not None
    images, shape, texture, colour = shapes.upstream(world.seed, world.upstream)
    targets = torch.from_numpy(np.column_stack([shape, texture, colour]).astype(np.float32))
    architecture = _architecture(base)
    return _train(architecture, base.pretrain, images, targets, COLOUR.stop, _factors, track)


def _key(base: Base, world: ShapesWorld) -> str:
    return of_value([base.model_dump(mode="json"), world.model_dump(mode="json")])


def _send_base(pipe: Connection, base: Base, world: ShapesWorld) -> None:
    """Send the number of images of all steps, those done since the last message, the weights."""

    @contextmanager
    def track(*what: Any, **_: object) -> Iterator[Advance]:
        total, done, told = what[1], 0, 0

        def advance(count: int) -> None:
            nonlocal done, told
            done += count
            # Few enough that all fit into the pipe while nobody reads.
            if (done - told) * 100 >= total:
                pipe.send(done - told)
                told = done

        pipe.send(total)
        yield advance

    weights = _base(base, world, track).state_dict()
    pipe.send(safetensors.torch.save({name: t.contiguous() for name, t in weights.items()}))


def _received(pipe: Connection, architecture: Architecture, track: Track) -> nn.Module | None:
    """The model of the other process; None if that ended before it was done."""
    with suppress(EOFError), track("pretraining", pipe.recv()) as advance:
        while not isinstance(message := pipe.recv(), bytes):
            advance(message)
        model = timm_models.create(architecture.model, architecture.kwargs, COLOUR.stop)
        model.load_state_dict(safetensors.torch.load(message))
        return model
    return None


def zero_shot(model: nn.Module) -> None:
    """Replace the head of factors by one of classes, sorted by name."""
    head = timm_models.head(model)
    weight, bias = head.weight.detach(), head.bias.detach()
    shape, texture = zip(*(name.split("-") for name in sorted(shapes.CLASSES)), strict=True)
    rows = [SHAPE.start + shapes.SHAPES.index(name) for name in shape]
    also = [TEXTURE.start + shapes.TEXTURES.index(name) for name in texture]
    made = nn.Linear(weight.shape[1], len(rows))
    made.weight.data = weight[rows] + weight[also]
    made.bias.data = bias[rows] + bias[also]
    model.set_submodule(timm_models.head_name(model), made)


def _architecture(base: Base) -> Architecture:
    return Architecture(
        library="timm",
        model=base.model,
        kwargs=base.kwargs,
        classes=tuple(sorted(shapes.CLASSES)),
        image_size=shapes.SIDE,
        mean=base.mean or (0.5, 0.5, 0.5),
        std=base.std or (0.25, 0.25, 0.25),
    )


def _train(
    architecture: Architecture,
    params: Pretrain,
    images: NDArray[np.uint8],
    targets: Tensor,
    outputs: int,
    loss: Loss,
    track: Track,
) -> nn.Module:
    """Train a new model on images (n, height, width, 3) and targets (n, ...)."""
    pixels, count, size = to_tensor(images), len(images), params.batch_size
    torch.manual_seed(params.seed)
    model: Any = timm_models.create(architecture.model, architecture.kwargs, outputs)
    model.to(memory_format=torch.channels_last)
    steps = count // size

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        order = np.random.default_rng([params.seed, epoch]).permutation(count)
        for index in range(skip, steps):
            chosen = torch.from_numpy(order[index * size : (index + 1) * size])
            yield normalise(pixels[chosen], architecture), targets[chosen]
            advance(size)

    schedule = Schedule(params.epochs, steps, params.lr, warmup=0.08, seed=params.seed)
    method = StepConfig(weight_decay=params.weight_decay)
    # More threads are hardly faster on a quiet machine, for layers so small, and much slower on a
    # busy one.
    with track("pretraining", params.epochs * steps * size) as advance, one_thread():
        fit(model, batches, loss, schedule, method)
    trained: nn.Module = model
    return trained


def _factors(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    output = model(images)
    return (
        functional.cross_entropy(output[:, SHAPE], targets[:, 0].long())
        + functional.cross_entropy(output[:, TEXTURE], targets[:, 1].long())
        + 0.75 * functional.mse_loss(output[:, COLOUR], targets[:, 2:])
    )
