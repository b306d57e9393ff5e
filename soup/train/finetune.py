"""One fine-tune: from the shared initialisation to an ingredient, scored on held-out."""

from dataclasses import dataclass
from pathlib import Path

import torch

from soup.checkpoint import Checkpoint
from soup.data.memory import training_images
from soup.data.split import read_csv
from soup.data.transforms import normalise, training
from soup.evaluate import predict
from soup.files import write_json
from soup.heldout import Result, heldout_images, scored
from soup.metrics import correct
from soup.models import Architecture, build
from soup.search import Configuration
from soup.train.batches import augmented, steps_per_epoch, workers_for
from soup.train.keeper import FileKeeper
from soup.train.loop import Log, Schedule, fit
from soup.train.losses import classification

CURVE = 5  # held-out scores logged on the way, at most: on a large set each one costs


@dataclass(frozen=True)
class Job:
    """All that one fine-tune needs; plain values, so that it can be sent to another process.

    Attributes:
        configuration: its hyperparameters.
        start: folder of the initialisation (`model.json`, `model.safetensors`).
        development: the manifest of training and held-out images.
        root: what its paths are relative to.
        folder: where its state and results are written.
        cache: where decoded images are kept.
        batch_size, warmup, clip, crop, flip: shared by the sweep.
        device: 'cpu', 'cuda:0', ...
        threads: of computation on the CPU.
        checkpoint_seconds, eval_batch_size, cache_gib: see `params.Compute`.
    """

    configuration: Configuration
    start: Path
    development: Path
    root: Path
    folder: Path
    cache: Path
    batch_size: int
    warmup: float
    clip: float
    crop: float
    flip: float
    device: str
    threads: int
    checkpoint_seconds: float
    eval_batch_size: int
    cache_gib: float


def finetune(job: Job, log: Log) -> Result:
    """Train and score one ingredient; continues from its folder if it was interrupted.

    Raises:
        Diverged: the loss stopped being a number.
    """
    torch.set_num_threads(job.threads)
    architecture = Architecture.load(job.start / "model.json")
    device = torch.device(job.device)
    start = Checkpoint(job.start / "model.safetensors")
    model = build(architecture, start).to(device)
    rows = read_csv(job.development)
    train = training_images(
        [row for row in rows if row.split == "train"],
        job.root,
        architecture.classes,
        job.cache,
        job.cache_gib,
    )
    heldout = heldout_images(rows, job.root, architecture, job.cache, job.cache_gib)
    c = job.configuration

    every = -(-c.epochs // CURVE)

    def after_epoch(step: int) -> None:
        if step < schedule.steps and step // schedule.steps_per_epoch % every == 0:
            logits = predict(model, heldout, architecture, job.eval_batch_size)
            log(step, {"heldout/accuracy": float(correct(logits, heldout.labels).mean())})

    schedule = Schedule(
        epochs=c.epochs,
        steps_per_epoch=steps_per_epoch(len(train), job.batch_size),
        lr=c.lr,
        weight_decay=c.weight_decay,
        warmup=job.warmup,
        clip=job.clip,
        seed=c.seed,
    )
    fit(
        model,
        augmented(
            train,
            training(architecture, c.augment, job.crop, job.flip),
            lambda pixels: normalise(pixels, architecture),
            job.batch_size,
            c.seed,
            device,
            workers_for(job.threads, device),
        ),
        classification(len(architecture.classes), c.label_smoothing, c.mixup),
        schedule,
        log,
        after_epoch,
        FileKeeper(job.folder / "state.safetensors", job.checkpoint_seconds),
    )
    # What `soup inspect` and `soup explain` ask a model for.
    notes = {"base": start.digest(), "lr": f"{c.lr:.6g}"}
    folder = job.folder / "ingredient"
    result = scored(model, heldout, architecture, folder, job.eval_batch_size, notes)
    write_json(job.folder / "result.json", {"errors": result.errors, "examples": result.examples})
    return result
