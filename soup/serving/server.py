"""Serve a checked model over HTTP: `soup serve` without its options."""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from soup.serving import processes
from soup.serving.addresses import address_of
from soup.serving.app import application
from soup.serving.open_classifier import open_classifier
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
        folder: holds `model.json` and `model.safetensors`, which were checked before.
        listening: a socket of `addresses.listen`.
        workers: number of processes.
        hosts: allowed host names, from `hosts_of`.
        ready: called with the address once the server answers requests.

    Raises:
        ModelError: the model cannot be opened.
        Failure: the processes cannot start.
    """
    logging.basicConfig(
        format="%(asctime)sZ %(message)s", datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr
    )
    logging.Formatter.converter = time.gmtime
    logging.getLogger("soup.serving").setLevel(logging.INFO)
    torch.set_num_threads(1)  # before the first computation: torch's threads would prevent forks
    # The tokenizer's threads would not exist in forked processes, each of which has one core.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    classifier = open_classifier(folder)
    classifier.try_out()

    app = application(classifier, limits, hosts)
    address = address_of(listening)
    processes.serve(app, listening, workers, lambda: ready(address))
