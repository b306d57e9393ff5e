"""`soup serve` without its options: a checked model behind HTTP."""

import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from soup.serving import processes
from soup.serving.app import application
from soup.serving.classifier import Classifier
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
        Failure: the processes cannot start.
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

    host, port = listening.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    app = application(classifier, limits, hosts)
    processes.serve(app, listening, workers, lambda: ready(address))
