"""One fine-tune's training: ours beside timm's own pieces in a plain loop, on the same work.

    .venv/bin/python benchmarks/train.py --data data/cifar10/train
    .venv/bin/python benchmarks/train.py --random 4096 --size 224 --batch 512 --device cuda \\
        --model vit_base_patch32_clip_quickgelu_224 --precision bfloat16 --peak-tflops 989
    .venv/bin/python benchmarks/train.py --data PACS/train --model tf_efficientnet_lite0 \\
        --size 96 --batch 32 --slots 2 --workers 0 --rounds 1

Same images, model, batch, crop, flip, optimiser, clipping, precision and threads; both in
channels-last memory. Each way runs in a process of its own, in turns; the clock starts before the
images are opened and stops after the last step, so that what ours decodes once is in it. From
JPEG folders timm decodes every image anew in each epoch, and so does ours where it is told to have
no memory (`files`); `as it is` ours decodes once. From memory both have the images decoded.
--slots trains so many models at once, each in a process with its share of the cores, and adds up
their images a second.

--peak-tflops prints the share of the device's peak: the model's operations, forward and twice that
backward, by torch's own counter.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from machine import machine
from PIL import Image
from programs import answer

from soup.data.loading.image_store import ImageStore
from soup.data.loading.packed import training_images
from soup.data.sources.folders import scan
from soup.data.split.manifest import Row
from soup.models import Architecture, build
from soup.models.transforms import normalise, training
from soup.train.batches import augmented, steps_per_epoch, workers_for
from soup.train.loop import fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule

PEER = Path(__file__).parent / "peers" / "timm_train.py"
WAYS = {
    "JPEG folders, every epoch anew": ("timm", "files"),
    "JPEG folders, as it is": ("timm", "ours"),
    "from memory": ("timm memory", "memory"),
}


def ours(options: dict[str, Any], way: str) -> dict[str, float]:
    """Train as a fine-tune does; seconds and images."""
    device, workers = torch.device(options["device"]), options["workers"]
    torch.set_num_threads(options["threads"])
    found, _ = scan(Path(options["folder"]), ".")
    classes = sorted({image.label for image in found})
    architecture = _architecture(options, tuple(classes))
    model = build(architecture).to(device)
    rows = [Row(f.path, f.label, "train", _size(options["folder"], f.path)) for f in found]
    room = 1e-9 if way == "files" else 64.0
    with tempfile.TemporaryDirectory() as fresh:
        start = time.perf_counter()
        images = training_images(
            ImageStore(Path(options["folder"]), Path(fresh), room), rows, classes
        )
        if way == "memory":
            start = time.perf_counter()
        steps = steps_per_epoch(len(images), options["batch"])
        schedule = Schedule(options["epochs"], steps, lr=1e-3, warmup=0.1, seed=0)
        batches = augmented(
            images,
            training(architecture, options["augment"] or "none", options["crop"], 0.5),
            lambda pixels: normalise(pixels, architecture),
            options["batch"],
            0,
            device,
            workers_for(options["cores"], device) if workers is None else workers,
        )
        method = StepConfig(weight_decay=0.05, precision=options["precision"])
        fit(model, batches, cross_entropy(), schedule, method)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "images": schedule.steps * min(options["batch"], len(images))}


def _architecture(options: dict[str, Any], classes: tuple[str, ...]) -> Architecture:
    half = (0.5, 0.5, 0.5)
    name, kwargs, size = options["model"], options["kwargs"], options["size"]
    return Architecture("timm", name, classes, size, half, half, kwargs=kwargs)


def _size(folder: str, path: str) -> str:
    return f"{(Path(folder) / path).stat().st_size}-bytes"


def in_slots(options: dict[str, Any], way: str) -> float:
    """Images a second of one way, in as many processes at once as there are slots."""
    with ThreadPoolExecutor(options["slots"]) as slots:
        return sum(slots.map(lambda _: in_process(options, way), range(options["slots"])))


def in_process(options: dict[str, Any], way: str) -> float:
    """Images a second of one way, in a process of its own."""
    if way.startswith("timm"):
        workers = options["cores"] if options["workers"] is None else options["workers"]
        given = {**options, "memory": way.endswith("memory"), "workers": workers}
        found = answer(PEER, json.dumps(given))
    else:
        found = answer(Path(__file__), "--run", way, json.dumps(options))
    return float(found["images"] / found["seconds"])


def drawn(folder: Path, count: int, size: int) -> Path:
    """Random pictures as JPEG in ten class folders, 4:3 and a quarter larger than the input."""
    rng = np.random.default_rng(0)
    width, height = round(size * 5 / 3), round(size * 5 / 4)
    for index in range(count):
        path = folder / f"class-{index % 10}" / f"{index:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def operations(options: dict[str, Any], classes: int) -> float:
    """Floating-point operations of a training step for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build(_architecture(options, tuple(map(str, range(classes)))))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, options["size"], options["size"]))
    return 3.0 * counter.get_total_flops()


def table(options: dict[str, Any], rounds: int) -> pd.DataFrame:
    """The fastest round of each way, and ours as a multiple of timm's."""
    rows = []
    for what, (theirs, own) in WAYS.items():
        turns = [(in_slots(options, theirs), in_slots(options, own)) for _ in range(rounds)]
        timm, soup = (max(turn[side] for turn in turns) for side in (0, 1))
        rows.append({"images": what, "timm, images/s": timm, "ours": soup, "ratio": soup / timm})
    return pd.DataFrame(rows)


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(ours(json.loads(sys.argv[3]), sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="folder of class folders of images")
    where.add_argument("--random", type=int, help="draw so many random pictures instead")
    parser.add_argument("--model", default="resnet10t", help="of timm")
    parser.add_argument("--kwargs", type=json.loads, default={}, help="JSON for create_model")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--crop", type=float, default=0.7, help="smallest share of an image")
    parser.add_argument("--augment", help="timm's rand-mM-nN; default none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--cores", type=int, default=torch.get_num_threads(), help="of the machine")
    parser.add_argument("--slots", type=int, default=1, help="fine-tunes at once")
    parser.add_argument("--threads", type=int, help="of computation; default: cores of a slot")
    parser.add_argument("--workers", type=int, help="default: cores for timm, our choice for ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, help="of the device in this precision")
    arguments = parser.parse_args()
    options = {k: v for k, v in vars(arguments).items() if k not in ("data", "random", "rounds")}
    options["cores"] = max(1, arguments.cores // arguments.slots)
    options["threads"] = arguments.threads or options["cores"]
    print(machine())
    with tempfile.TemporaryDirectory() as own:
        folder = arguments.data or drawn(Path(own), arguments.random, arguments.size)
        options["folder"] = str(folder.resolve())
        options["classes"] = sum(child.is_dir() for child in folder.iterdir())
        frame = table(options, arguments.rounds)
    if arguments.peak_tflops:
        each = operations(options, options["classes"])
        frame["of peak"] = [f"{r * each / arguments.peak_tflops / 1e12:.1%}" for r in frame["ours"]]
    print(f"\n{arguments.model} at {arguments.size}, batch {arguments.batch}, {arguments.device}")
    print(frame.to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
