"""`soup serve` without its options: a checked model behind HTTP."""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import uvicorn

from soup.serving.app import application
from soup.serving.classifier import Classifier
from soup.serving.processes import CONNECTIONS, GRACE, Processes
from soup.serving.protocol import Limits


def serve(
    folder: Path,
    listening: socket.socket,
    workers: int,
    hosts: Sequence[str],
    limits: Limits,
    ready: Callable[[str], None],
) -> None:
    """Serve the model in a folder until SIGTERM or SIGINT.

    Args:
        folder: of `model.json` and `model.safetensors`, checked already.
        listening: of `processes.listen`.
        workers: processes.
        hosts: as `hosts_of` gives them.
        ready: called with the address when requests are answered.

    Raises:
        ModelError: the model cannot be opened.
        Failure: the processes end by themselves.
    """
    logging.basicConfig(
        format="%(asctime)sZ %(message)s", datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr
    )
    logging.Formatter.converter = time.gmtime
    logging.getLogger("soup.serving").setLevel(logging.INFO)
    torch.set_num_threads(1)  # before the first computation, or no process could be forked
    classifier = Classifier(folder)
    size = classifier.architecture.image_size
    blank = torch.zeros(size, size, 3, dtype=torch.uint8).numpy()
    classifier.rows([blank])  # a model that takes no images of its size is told here

    def run(socket_: socket.socket, started: Callable[[], None], gone: int) -> None:
        classifier.rows([blank])
        app = application(classifier, limits, hosts, started)
        _run(app, socket_, gone)

    host, port = listening.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    Processes(run, listening, workers).serve(lambda: ready(address))


def _run(app: object, listening: socket.socket, gone: int) -> None:
    """Serve in this process until SIGTERM, or until the end of the pipe `gone`."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
        # asyncio accepts as many connections at once as may queue: one process would take all.
        backlog=1,
    )
    server = uvicorn.Server(config)

    async def main() -> None:
        def end() -> None:
            server.should_exit = True
            asyncio.get_running_loop().remove_reader(gone)

        asyncio.get_running_loop().add_reader(gone, end)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            listening.listen(CONNECTIONS)  # the queue of the kernel, which `backlog` made short
        await serving

    asyncio.run(main())
