"""One way of averaging models, in a process of its own; what `average.py` times.

    python benchmarks/peers/averages.py WAY OUT MODEL...

Imports what the way needs, says "ready", waits for a line, works, and prints the seconds of the
work alone. Every way writes its result in the end. The peers' steps are those of their code, told
anew; what would only slow a peer down is left out and named at it.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

Work = Callable[[Path, list[Path]], None]
BLOCK = 8 << 20


def limit() -> Work:
    """What the machine cannot do without: read each file once, write one as large, and sync it."""

    def work(out: Path, models: list[Path]) -> None:
        block = bytearray(BLOCK)
        files = [file for model in models for file in _files(model)]
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass
        _write(out, sum(file.stat().st_size for file in files) // len(models))

    return work


def limit_digests() -> Work:
    """The same, and each block is hashed as it is read, on as many threads as there are cores."""

    def digest(path: Path) -> str:
        block, done = bytearray(BLOCK), hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                done.update(memoryview(block)[:count])
        return done.hexdigest()

    def work(out: Path, models: list[Path]) -> None:
        files = [file for model in models for file in _files(model)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(digest, files))
        _write(out, sum(file.stat().st_size for file in files) // len(models))

    return work


def ours() -> Work:
    """Two lines of this library; the result is written aside, synced and renamed."""
    from soup import Checkpoint, average, save  # named, since they are loaded at first use

    def work(out: Path, models: list[Path]) -> None:
        save(average([Checkpoint(path) for path in models]), out)

    return work


def cook() -> Work:
    """`soup cook`, which notes the digests of the models in the soup.

    What it knows of earlier files is in $XDG_CACHE_HOME.
    """
    from soup.cli import main

    def run(out: Path, models: list[Path]) -> None:
        sys.argv = ["soup", "cook", "--recipe", "uniform", "--out", str(out), *map(str, models)]
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise

    with (
        TemporaryDirectory() as folder,
        redirect_stdout(sys.stderr),
    ):  # imports what the command needs
        from safetensors.torch import save_file
        from torch import ones

        small = [Path(folder) / f"{n}.safetensors" for n in range(2)]
        for file in small:
            save_file({"a": ones(2)}, file)
        run(Path(folder) / "out.safetensors", small)
    return run


def timm() -> Work:
    """timm's avg_checkpoints.py: whole models loaded, summed in float64, clamped, float32 saved.

    Its SHA-256 of the result is left out.
    """
    import torch
    from safetensors.torch import save_file
    from timm.models import load_state_dict

    def work(out: Path, models: list[Path]) -> None:
        total: dict[str, Any] = {}
        for path in models:
            for name, tensor in load_state_dict(str(path), use_ema=True).items():
                if name in total:
                    total[name] += tensor.to(dtype=torch.float64)
                else:
                    total[name] = tensor.clone().to(dtype=torch.float64)
        for tensor in total.values():
            tensor.div_(len(models))
        bounds = torch.finfo(torch.float32)
        mean = {
            name: tensor.clamp(bounds.min, bounds.max).to(dtype=torch.float32)
            for name, tensor in total.items()
        }
        save_file(mean, str(out))

    return work


def published() -> Work:
    """model-soups' main.py, step 3: each model loaded whole, added in float32 with 1/K."""
    import torch

    def work(out: Path, models: list[Path]) -> None:
        total: dict[str, Any] = {}
        share = 1.0 / len(models)
        for path in models:
            state = torch.load(path, weights_only=True)
            if total:
                total = {name: tensor * share + total[name] for name, tensor in state.items()}
            else:
                total = {name: tensor * share for name, tensor in state.items()}
        torch.save(total, out)

    return work


def mergekit() -> Work:
    """mergekit's linear merge, by the planner behind its mergekit-pytorch command.

    Sharded models are opened by its own index, which that command does not look for. The result
    is a folder, `out` without its suffix, with model.safetensors in it.
    """
    from mergekit.scripts import (  # type: ignore[import-not-found]  # no dependency of ours
        merge_raw_pytorch as raw,
    )

    def work(out: Path, models: list[Path]) -> None:
        options = raw.MergeOptions()
        for path in models:
            if path.name.endswith(".index.json"):
                index = raw.ShardedTensorIndex.from_disk(str(path.parent))
                raw.SimpleLoaderCache().loaders[str(path)] = raw.LazyTensorLoader(index)
        config = raw.RawPyTorchMergeConfig(
            merge_method="linear",
            models=[{"model": str(path), "parameters": {"weight": 1.0}} for path in models],
        )
        folder = str(out.with_suffix(""))
        tasks = raw.plan_flat_merge(config, folder, False, False, options)
        for _ in raw.Executor(tasks, math_device=options.device, storage_device="cpu").run(True):
            pass

    return work


WAYS = {
    "limit": limit,
    "limit-digests": limit_digests,
    "ours": ours,
    "cook": cook,
    "cook-again": cook,
    "timm": timm,
    "published": published,
    "mergekit": mergekit,
}


def _write(out: Path, size: int) -> None:
    """Write as many bytes, and wait until they are on the disk."""
    block = bytes(BLOCK)
    with out.open("wb", buffering=0) as file:
        while size > 0:
            size -= file.write(memoryview(block)[: min(size, BLOCK)])
        os.fsync(file.fileno())


def _files(model: Path) -> list[Path]:
    """The files of a model: itself, or the shards beside its index."""
    if not model.name.endswith(".index.json"):
        return [model]
    return sorted(model.parent.glob("*.safetensors"))


def main() -> None:
    way, out, *models = sys.argv[1:]
    work = WAYS[way]()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    with redirect_stdout(sys.stderr):
        work(Path(out), [Path(model) for model in models])
    print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
