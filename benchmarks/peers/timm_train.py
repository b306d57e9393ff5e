"""Fine-tuning by timm's own pieces in a plain loop: loader, optimiser, schedule, clipping.

    python benchmarks/peers/timm_train.py '{"folder": ..., "model": ..., ...}'

As timm's train.py puts them together, in channels-last memory, with its prefetcher on a GPU. Prints
JSON: seconds from opening the data to the last step, and the images seen.
"""

import json
import sys
import time
from contextlib import nullcontext
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import dispatch_clip_grad
from torch import nn


class Held:
    """A timm data set with its images decoded and held in memory."""

    def __init__(self, data: Any) -> None:
        self.items = [(image.convert("RGB"), label) for image, label in data]
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.items[index]
        return self.transform(image), label


def main(options: dict[str, Any]) -> None:
    device = torch.device(options["device"])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    model: Any = timm.create_model(
        options["model"], num_classes=options["classes"], **options["kwargs"]
    )
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    loss = nn.CrossEntropyLoss()
    Image.init()
    start = time.perf_counter()
    data: Any = create_dataset("", options["folder"])
    if options["memory"]:
        data = Held(data)
        start = time.perf_counter()
    on_gpu = device.type == "cuda"
    loader = create_loader(
        data,
        (3, options["size"], options["size"]),
        options["batch"],
        is_training=True,
        scale=(options["crop"], 1.0),
        hflip=0.5,
        color_jitter=None,
        auto_augment=options["augment"],
        interpolation="bicubic",
        num_workers=options["workers"],
        use_prefetcher=on_gpu,
        device=device,
        persistent_workers=options["workers"] > 0,
    )
    steps = options["epochs"] * len(loader)
    schedule = CosineLRScheduler(optimizer, steps, warmup_t=steps // 10, t_in_epochs=False)
    autocast = (
        torch.autocast(device.type, dtype=torch.bfloat16)
        if options["precision"] == "bfloat16"
        else nullcontext()
    )
    model.train()
    step = seen = 0
    for _ in range(options["epochs"]):
        for images, labels in loader:
            if not on_gpu:
                images = images.to(device)  # noqa: PLW2901
                labels = labels.to(device)  # noqa: PLW2901
            images = images.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
            with autocast:
                value = loss(model(images), labels)
            optimizer.zero_grad()
            value.backward()
            dispatch_clip_grad(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            seen += len(images)
            schedule.step_update(step)
    if on_gpu:
        torch.cuda.synchronize()
    print(json.dumps({"seconds": time.perf_counter() - start, "images": seen}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
