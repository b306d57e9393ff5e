"""Averaging model files: ours beside timm's, mergekit's and the published loop, and the limit.

    .venv/bin/python benchmarks/average.py --rounds 5 --mergekit ENVIRONMENT/bin/python
    .venv/bin/python benchmarks/average.py --rounds 1 --whole --mergekit ENVIRONMENT/bin/python

mergekit wants an environment of its own (`python -m venv ENVIRONMENT`, `pip install mergekit`);
without one it is left out. Two tables: 8 models of CLIP ViT-B/32 (float32, the true 302 tensors
with 151.3 M parameters, random values), and 3 models of 2 GB in shards with an index; with --whole,
the first alone. Below each stand the ratios of `soup cook` to the limit with digests, of the same
again to mergekit, and of the library to the limit. Each way runs in a process of its own, in turns;
imports are not timed. The limit is to read every file once into one buffer, to write a file of the
result's size and to sync it; with digests, each block is hashed as it is read, on as many threads
as there are cores. `soup cook` is run twice: as for files that it never saw, and again. Ours is
synced too, as every file it writes; no peer's result is. Memory is private (anonymous): pages of
the files themselves, which the system takes back when it wants, are not counted. Needs about 13 GB
of disk while it runs.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from machine import machine
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from soup import known_digests

PEERS = Path(__file__).parent / "peers" / "averages.py"
LABELS = {
    "limit": "limit: read, write, sync",
    "limit-digests": "limit, and SHA-256 of the inputs",
    "ours": "ours: soup.save(soup.average(...))",
    "cook": "soup cook: ours, and SHA-256 of the inputs",
    "cook-again": "soup cook of the same files again",
    "timm": "timm avg_checkpoints",
    "mergekit": "mergekit linear",
    "published": "published model-soups loop (.pt)",
}
RATIOS = [("cook", "limit-digests"), ("cook-again", "mergekit"), ("ours", "limit")]
Shapes = dict[str, tuple[int, ...]]


def clip(width: int, layers: int, text_width: int = 512, text_layers: int = 12) -> Shapes:
    """Tensor names and shapes of a CLIP with patches of 32 in 224 x 224; (768, 12) is ViT-B/32."""
    joint = text_width
    return {
        "positional_embedding": (77, text_width),
        "text_projection": (text_width, joint),
        "logit_scale": (),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (50, width),
        "visual.proj": (width, joint),
        "visual.conv1.weight": (width, 3, 32, 32),
        **_pair("visual.ln_pre", (width,)),
        **_blocks("visual.transformer", width, layers),
        **_pair("visual.ln_post", (width,)),
        **_blocks("transformer", text_width, text_layers),
        "token_embedding.weight": (49408, text_width),
        **_pair("ln_final", (text_width,)),
    }


def _blocks(prefix: str, width: int, layers: int) -> Shapes:
    shapes: Shapes = {}
    for layer in range(layers):
        block = f"{prefix}.resblocks.{layer}"
        shapes |= _pair(f"{block}.ln_1", (width,))
        shapes[f"{block}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{block}.attn.in_proj_bias"] = (3 * width,)
        shapes |= _pair(f"{block}.attn.out_proj", (width, width))
        shapes |= _pair(f"{block}.ln_2", (width,))
        shapes |= _pair(f"{block}.mlp.c_fc", (4 * width, width))
        shapes |= _pair(f"{block}.mlp.c_proj", (width, 4 * width))
    return shapes


def _pair(name: str, weight: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def write(folder: Path, shapes: Shapes, seed: int, shards: int) -> tuple[Path, Path]:
    """A model of random weights: as safetensors, whole or in shards with an index, and as .pt."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    if shards == 1:
        path, pickled = folder / "model.safetensors", folder / "model.pt"
        save_file(state, path)
        torch.save(state, pickled)
        return path, pickled
    return _in_shards(folder, state, shards), Path()


def _in_shards(folder: Path, state: dict[str, Tensor], count: int) -> Path:
    names = list(state)
    total = sum(tensor.nbytes for tensor in state.values())
    where, done = {}, 0
    for name in names:
        where[name] = (
            f"model-{min(count, done * count // total + 1):05d}-of-{count:05d}.safetensors"
        )
        done += state[name].nbytes
    for file in sorted(set(where.values())):
        save_file({n: state[n] for n in names if where[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": where}))
    return index


@dataclass
class Way:
    """One contestant: what it runs with, and what was measured in each round (seconds, MB)."""

    name: str
    models: list[Path]
    python: str = sys.executable
    seconds: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    grown: list[float] = field(default_factory=list)

    def turn(self, out: Path) -> None:
        """Run it once in a process of its own, and watch its private memory from outside."""
        command = [self.python, str(PEERS), self.name, str(out), *map(str, self.models)]
        pipe, quiet = subprocess.PIPE, {**os.environ, "TQDM_DISABLE": "1"}
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=quiet) as process:
            assert process.stdin
            assert process.stdout
            if not process.stdout.readline():
                raise SystemExit(f"{self.name} did not start: {' '.join(command)}")
            # What others left for the disk to do is not this one's to wait for.
            os.sync()
            before = private(process.pid)
            with ThreadPoolExecutor(1) as pool:
                peak = pool.submit(_peak, process)
                answer, _ = process.communicate("go\n")
        if process.returncode != 0:
            raise SystemExit(f"{self.name} failed: {' '.join(command)}")
        self.seconds.append(float(answer.split()[-1]))
        self.peak.append(peak.result())
        self.grown.append(peak.result() - before)


def _peak(process: "subprocess.Popen[str]") -> float:
    peak = 0.0
    while process.returncode is None:
        peak = max(peak, private(process.pid))
        time.sleep(0.004)
    return peak


def private(pid: int) -> float:
    """Anonymous memory of a process in MB; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "x 0 kB")
    return int(line.split()[1]) * 1024 / 1e6


def race(ways: list[Way], rounds: int, folder: Path, size: float, cold: bool) -> pd.DataFrame:
    """Every way in turns, `rounds` times; a model has `size` MB. First results are compared."""
    kept = folder / "kept.safetensors"
    distances = {}
    for each in range(rounds):
        for way in ways:
            files = [file for model in way.models for file in model.parent.iterdir()]
            os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=folder)
            if way.name == "cook-again":
                know(files)
            visit(files, cold)
            out = folder / f"{way.name}{way.models[0].suffix.replace('.json', '.safetensors')}"
            way.turn(out)
            result = out if out.is_file() else out.with_suffix("") / "model.safetensors"
            if each == 0 and way.name == "ours":
                result.rename(kept)
                continue
            if each == 0 and not way.name.startswith("limit"):
                distances[way.name] = distance(result, kept)
            result.unlink()
    kept.unlink()
    ours = min(next(way for way in ways if way.name == "ours").seconds)
    rows = [
        {
            "": LABELS[way.name],
            "seconds, best": min(way.seconds),
            "median": statistics.median(way.seconds),
            "best / ours": min(way.seconds) / ours,
            "peak private MB": max(way.peak),
            "/ one model": max(way.peak) / size,
            "of it for the work": max(way.grown),
            "largest difference from ours": distances.get(way.name),
        }
        for way in ways
    ]
    return pd.DataFrame(rows)


def know(files: list[Path]) -> None:
    """Let the digests of files be kept, once the files are old enough for it."""
    youngest = max(file.stat().st_ctime for file in files)
    time.sleep(max(0.0, youngest + known_digests.SETTLED + 1 - time.time()))
    for file in files:
        known_digests.sha256(file)


def visit(files: list[Path], cold: bool) -> None:
    """Bring files into the page cache, or out of it."""
    block = bytearray(8 << 20)
    for path in files:
        with path.open("rb", buffering=0) as file:
            if cold:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.readinto(block):
                    pass


def distance(result: Path, ours: Path) -> float:
    """The largest difference between two results, which must have the same tensors."""
    with safe_open(ours, "pt") as mine, ExitStack() as stack:
        theirs: Any
        if result.suffix == ".pt":
            theirs = torch.load(result, mmap=True, weights_only=True)
        else:
            opened = stack.enter_context(safe_open(result, "pt"))
            theirs = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        assert sorted(theirs) == sorted(mine.keys())
        return max(float((theirs[n] - mine.get_tensor(n)).abs().max()) for n in theirs)


def compete(
    folder: Path, shapes: Shapes, count: int, shards: int, arguments: argparse.Namespace
) -> None:
    """Make the models, run all ways that can read them, and print the table."""
    made = [write(folder / str(seed), shapes, seed, shards) for seed in range(count)]
    paths = [path for path, _ in made]
    ways = [Way("limit", paths), Way("limit-digests", paths)]
    ways += [Way("ours", paths), Way("cook", paths), Way("cook-again", paths)]
    if shards == 1:
        ways += [Way("timm", paths), Way("published", [pickled for _, pickled in made])]
    if arguments.mergekit:
        ways.append(Way("mergekit", paths, arguments.mergekit))
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    table = race(ways, arguments.rounds, folder, parameters * 4 / 1e6, arguments.cold)
    what = "one file each" if shards == 1 else f"{shards} shards each, with an index"
    cache = "none of it" if arguments.cold else "all of it"
    print(
        f"\n{count} models of {parameters / 1e6:.1f} M float32 parameters, {what}; "
        f"{cache} in the page cache; {arguments.rounds} rounds"
    )
    formats = ("", ".2f", ".2f", ".2f", ".0f", ".2f", ".0f", ".1e")
    print(table.to_markdown(index=False, floatfmt=formats, missingval=""))
    fastest = {way.name: min(way.seconds) for way in ways}
    for one, other in RATIOS:
        if {one, other} <= fastest.keys():
            ratio = fastest[one] / fastest[other]
            print(f"{LABELS[one]} / {LABELS[other]}: {ratio:.2f} of the time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the models are made, and deleted again")
    parser.add_argument("--mergekit", help="the Python of an environment with mergekit in it")
    parser.add_argument("--cold", action="store_true", help="files not in the page cache")
    parser.add_argument("--whole", action="store_true", help="models of one file each alone")
    parser.add_argument("--tiny", action="store_true", help="models of a few MB, for a try")
    arguments = parser.parse_args()
    # So that the files are deleted as well when somebody stops this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(machine())
    if not arguments.mergekit:
        print("mergekit is left out: no --mergekit was given")
    contests = [(8, 1, (768, 12)), (3, 4, (1024, 36))]
    for count, shards, tower in contests[:1] if arguments.whole else contests:
        shapes = clip(*((64, 2, 32, 2) if arguments.tiny else tower))
        with tempfile.TemporaryDirectory(prefix="average-", dir=arguments.folder) as folder:
            compete(Path(folder), shapes, count, shards, arguments)


if __name__ == "__main__":
    main()
