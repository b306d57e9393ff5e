"""Compare `soup serve` with `mlflow models serve`: requests a second, latency and memory.

    .venv/bin/python -m benchmarks.serving --minutes 10

The benchmark saves a ResNet-10-T for pictures of 64 x 64 (or takes --model FOLDER, in MLflow's
format), serves it by both programs with one process for each core, and sends JPEGs from this
machine at several concurrencies. One picture in ten is not an image. Every answer is checked: the
row of such a picture must have an error, and all other pictures must be classified; anything else
counts as an error. The senders use part of the cores, the same part for both servers. MLflow's
server gets one torch thread for each process, with which it is faster than with its default.

Memory is the sum of the proportional set sizes (PSS) of the server's processes, in which shared
memory counts once.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.machine import machine
from tests.servers import free_port

PATIENCE = 300.0  # seconds that a server may take to start
CLASSES = 10


def save(folder: Path) -> Path:
    """A model of random weights, as MLflow stores it."""
    import torch

    from soup.models import Architecture, build
    from soup.tracking import save_pyfunc
    from soup.weights.checkpoint import save as save_weights

    torch.manual_seed(0)
    architecture = Architecture(
        library="timm",
        model="resnet10t",
        kwargs={},
        classes=tuple(f"class {n}" for n in range(CLASSES)),
        image_size=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    (folder / "soup").mkdir()
    architecture.save(folder / "soup" / "model.json")
    save_weights(build(architecture).state_dict(), folder / "soup" / "model.safetensors")
    save_pyfunc(folder / "soup", folder / "model")
    return folder / "model"


def requests(port: int, pictures: int) -> list[tuple[bytes, int]]:
    """Ten requests, and how many pictures of each are not images: one in ten."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(10 * pictures - pictures):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        texts.append(base64.b64encode(file.getvalue()).decode())
    none = base64.b64encode(b"no picture").decode()
    for index in range(pictures):
        texts.insert(10 * index, none)
    made = []
    for start in range(0, len(texts), pictures):
        own = texts[start : start + pictures]
        body = json.dumps({"inputs": own}).encode()
        head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append((head.encode() + body, own.count(none)))
    return made


@dataclass
class Load:
    """The senders' results: milliseconds of each request, and errors."""

    times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


async def send(port: int, made: Sequence[tuple[bytes, int]], first: int, until: float, load: Load):
    """Send one request after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = first
    while time.monotonic() < until:
        request, wrong = made[count % len(made)]
        count += 1
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line[:15] == b"content-length:"
        )
        body = await reader.readexactly(length)
        load.times.append(1000 * (time.perf_counter() - began))
        refused = body.count(b'"label": null') + body.count(b'"label":null')
        answered = body.count(b'"label"') - refused
        if b" 200 " not in head[:20] or (answered, refused) != (made_of(request) - wrong, wrong):
            load.errors.append(f"{head[:20]!r} {body[:200]!r}")
    writer.close()


def made_of(request: bytes) -> int:
    """How many pictures a request holds."""
    return request.count(b'", "') + 1


async def loaded(port: int, concurrency: int, pictures: int, seconds: float, process: int) -> Load:
    """Send for a while; measure the server's memory at the start, in the middle and at the end."""
    load, made = Load(), requests(port, pictures)
    until = time.monotonic() + seconds
    load.memory.append(memory(process))
    senders = [asyncio.ensure_future(send(port, made, n, until, load)) for n in range(concurrency)]
    await asyncio.sleep(seconds / 2)
    load.memory.append(memory(process))
    await asyncio.gather(*senders)
    load.memory.append(memory(process))
    return load


def memory(process: int) -> float:
    """The memory of a process and its descendants (PSS), in MiB."""
    parent = psutil.Process(process)
    family = [parent, *parent.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / (1 << 20)


def ours(model: Path, port: int, workers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "soup.cli", "serve", str(model)),
        *("--port", str(port), "--workers", str(workers)),
    ]


def mlflow(model: Path, port: int, workers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)),
        *("--env-manager", "local", "-p", str(port), "--workers", str(workers)),
    ]


SERVERS = {"soup serve": ours, "mlflow models serve": mlflow}


def measured(name: str, model: Path, options: argparse.Namespace) -> None:
    """Start a server, print a line for each concurrency, and end it."""
    port = free_port()
    command = SERVERS[name](model, port, options.workers)
    minutes = options.minutes if name == "soup serve" else options.peer_minutes
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(port, server)
            for concurrency in options.concurrency:
                asyncio.run(loaded(port, concurrency, options.pictures, 2.0, server.pid))  # warm
                seconds = 60 * minutes
                load = asyncio.run(loaded(port, concurrency, options.pictures, seconds, server.pid))
                p50, p99 = np.percentile(load.times, [50, 99])
                rate = len(load.times) / seconds
                held = " -> ".join(f"{value:.0f}" for value in load.memory)
                print(
                    f"{name:20} {concurrency:3} at once: {rate:7.1f} requests/s  "
                    f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  "
                    f"{len(load.errors)} errors of {len(load.times)}  memory {held} MiB",
                    flush=True,
                )
                for error in load.errors[:3]:
                    print("   ", error)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server does not start: {server.args}") from None
            time.sleep(0.5)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model folder of MLflow")
    parser.add_argument("--minutes", type=float, default=10, help="of each concurrency, ours")
    parser.add_argument("--peer-minutes", type=float, default=1, help="the same of MLflow's server")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--pictures", type=int, default=1, help="in a request")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=[*SERVERS])
    options = parser.parse_args()
    print(machine())
    print(f"{options.workers} processes, {options.pictures} pictures a request, one in ten is none")
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or save(Path(folder))
        for name in options.servers:
            measured(name, model, options)


if __name__ == "__main__":
    main()
