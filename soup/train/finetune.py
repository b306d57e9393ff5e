"""One fine-tune: from the shared initialisation to its ingredients, scored on held-out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from soup.checkpoint import Checkpoint
from soup.data.memory import training_images
from soup.data.split import read_csv
from soup.data.transforms import normalise, training
from soup.evaluate import predict
from soup.files import write_json
from soup.heldout import Result, heldout_images, scored
from soup.metrics import correct
from soup.models import Architecture, build
from soup.models.depth import checkpoint_gradients, set_drop_path
from soup.params import Compute, Sweep
from soup.search import Configuration
from soup.train.averages import Averages, names
from soup.train.batches import augmented, steps_per_epoch, workers_for
from soup.train.keeper import FileKeeper
from soup.train.loop import Log, fit
from soup.train.losses import cross_entropy, mixing
from soup.train.method import Method
from soup.train.schedule import Schedule

CURVE = 5  # held-out scores logged on the way, at most: on a large set each one costs
PLAIN = ""  # the name of the ingredient that is no average


@dataclass(frozen=True)
class Job:
    """All that one fine-tune needs; plain values, so that it can be sent to another process.

    Attributes:
        configuration: its hyperparameters.
        sweep, compute: what it shares with the others.
        start: folder of the initialisation (`model.json`, `model.safetensors`).
        development: the manifest of training and held-out images.
        root: what its paths are relative to.
        folder: where its state and results are written.
        cache: where decoded images are kept.
        device: 'cpu', 'cuda:0', ...
        threads: of computation on the CPU.
        until: share of the run after which it pauses; 1 for all of it.
    """

    configuration: Configuration
    sweep: Sweep
    compute: Compute
    start: Path
    development: Path
    root: Path
    folder: Path
    cache: Path
    device: str
    threads: int
    until: float = 1.0


# Of each ingredient that a fine-tune makes: itself, and the averages of its weights by name.
Results = Mapping[str, Result]


def finetune(job: Job, log: Log, say: Callable[[str], None] = lambda _: None) -> Results | float:
    """Train and score one fine-tune; continues from its folder if it was interrupted.

    Returns:
        The results, or, if it paused at `until`, its held-out accuracy so far.

    Raises:
        Diverged: the loss stopped being a number.
    """
    torch.set_num_threads(job.threads)
    architecture = Architecture.load(job.start / "model.json")
    device = torch.device(job.device)
    start = Checkpoint(job.start / "model.safetensors")
    model = _network(job, architecture, start).to(device)
    rows = read_csv(job.development)
    gib = job.compute.cache_gib
    train = training_images(
        [row for row in rows if row.split == "train"],
        job.root,
        architecture.classes,
        job.cache,
        gib,
    )
    heldout = heldout_images(rows, job.root, architecture, job.cache, gib)
    c, s, size = job.configuration, job.sweep, job.compute.eval_batch_size
    schedule = schedule_of(job, len(train))
    compiled: Any = torch.compile(model) if s.compile else None
    averages = Averages(model, s.ema, s.swa is not None)

    every = -(-c.epochs // CURVE)

    def accuracy() -> float:
        return float(correct(predict(model, heldout, architecture, size), heldout.labels).mean())

    def after_epoch(step: int) -> None:
        if step < schedule.steps and step // schedule.steps_per_epoch % every == 0:
            log(step, {"heldout/accuracy": accuracy()})

    complete = fit(
        model,
        augmented(
            train,
            training(architecture, c.augment, s.crop, s.flip),
            lambda pixels: normalise(pixels, architecture),
            s.batch_size,
            c.seed,
            device,
            workers_for(job.threads, device),
        ),
        cross_entropy(c.label_smoothing),
        schedule,
        method_of(job),
        mix=mixing(len(architecture.classes), c.mixup, c.cutmix),
        averages=averages,
        network=compiled,
        until=None if job.until == 1 else max(1, round(job.until * schedule.steps)),
        log=log,
        say=say,
        after_epoch=after_epoch,
        keeper=FileKeeper(
            job.folder / "state.safetensors",
            job.compute.checkpoint_seconds,
            job.compute.checkpoint_steps,
        ),
    )
    if not complete:
        return accuracy()
    # What `soup inspect` and `soup explain` ask a model for.
    notes = {"base": start.digest(), "lr": f"{c.lr:.6g}"}
    results = {
        name: scored(each, heldout, architecture, folder_of(job, name), size, notes)
        for name, each in {PLAIN: model, **averages.models}.items()
    }
    counts = {name: {"errors": r.errors, "examples": r.examples} for name, r in results.items()}
    write_json(job.folder / "result.json", counts)
    return results


def finished(job: Job) -> Results | None:
    """The results on disk, of a fine-tune whose pipeline was killed before they were stored."""
    try:
        counts = json.loads((job.folder / "result.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return {
        name: Result(facts["errors"], facts["examples"], folder_of(job, name))
        for name, facts in counts.items()
    }


def folder_of(job: Job, name: str) -> Path:
    """Where an ingredient of the fine-tune is written."""
    return job.folder / ("ingredient" if name == PLAIN else f"ingredient-{name}")


def ingredients_of(sweep: Sweep) -> list[str]:
    """The names of the ingredients that each fine-tune makes."""
    return [PLAIN, *names(sweep.ema, sweep.swa is not None)]


def schedule_of(job: Job, images: int) -> Schedule:
    c, s = job.configuration, job.sweep
    flat = {"flat_from": s.swa.start, "flat_lr": s.swa.lr} if s.swa else {}
    per_epoch = steps_per_epoch(images, s.batch_size)
    return Schedule(c.epochs, per_epoch, c.lr, warmup=s.warmup, seed=c.seed, **flat)


def method_of(job: Job) -> Method:
    c, s = job.configuration, job.sweep
    return Method(
        optimizer=s.optimizer,
        weight_decay=c.weight_decay,
        layer_decay=c.layer_decay,
        clip=s.clip,
        accumulate=s.accumulate,
        sam=c.sam,
        precision=s.precision,
    )


def _network(job: Job, architecture: Architecture, start: Checkpoint) -> nn.Module:
    model = build(architecture, start)
    if job.configuration.drop_path:
        set_drop_path(model, architecture, job.configuration.drop_path)
    if job.sweep.grad_checkpointing:
        checkpoint_gradients(model)
    return model
