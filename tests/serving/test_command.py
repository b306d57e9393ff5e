"""`soup serve` as it is started: processes, signals, deaths, and what it refuses to serve."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from soup.serving import Classifier
from soup.tracking import save_pyfunc
from tests import checkouts
from tests.waiting import until
from tests.worlds import COLOURS, picture, put, tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "soup").mkdir()
    save_pyfunc(put(folder / "soup", tiny(seed=4)), folder / "model")
    return folder / "model"


class Served:
    """A server that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self._log = process, log

    def log(self) -> str:
        return self._log.read_text()

    def address(self) -> str:
        """Once it answers."""

        def told() -> str | None:
            assert self.process.poll() is None, self.log()
            found = re.search(r"answers at (\S+)/invocations", self.log())
            return found and found[1]

        return until(told, "the address")

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def serving(tmp_path: Path, *arguments: object) -> Iterator[Served]:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "soup.cli", "serve", *map(str, arguments), "--port", "0"]
    with log.open("wb") as file:
        environment = checkouts.environment(tmp_path, PYTHONPATH=str(checkouts.REPO), COLUMNS="500")
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield Served(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def encoded(seed: int) -> str:
    file = io.BytesIO()
    picture(COLOURS["red"], seed, (24, 20)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def ask(address: str, images: list[str]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}/invocations",
        json.dumps({"inputs": images}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        rows: list[dict[str, Any]] = json.load(answer)["predictions"]
    return rows


def test_two_processes_answer_many_at_once_and_end_when_they_are_told(
    model: Path, tmp_path: Path
) -> None:
    classifier = Classifier(model / "data" / "soup")
    images = [encoded(seed) for seed in range(40)]
    expected = [row["label"] for row in classifier.rows(classifier.read(images))]
    with serving(tmp_path, model, "--workers", 2) as server:
        address = server.address()
        until(lambda: len(server.workers()) == 2, "two processes")
        with ThreadPoolExecutor(8) as threads:
            answers = [*threads.map(lambda image: ask(address, [image, "AAAA"]), images)]
        assert [rows[0]["label"] for rows in answers] == expected
        assert all(rows[1]["label"] is None and rows[1]["error"] for rows in answers)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(300) == 0
        log = server.log()
    assert len(re.findall(r"POST /invocations 200 .* 2 pictures, 1 refused", log)) == 40
    assert "Traceback" not in log
    assert "leaked" not in log  # libraries say so where a process is taken apart while it shares


def test_a_process_that_dies_is_replaced_and_none_outlives_the_first(
    model: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, model, "--workers", 2) as server:
        address = server.address()
        until(lambda: len(server.workers()) == 2, "two processes")
        before = server.workers()
        before[0].kill()

        def replaced() -> bool:
            pids = {worker.pid for worker in server.workers()}
            return len(pids) == 2 and before[0].pid not in pids

        until(replaced, "another process")
        assert ask(address, [encoded(1)])[0]["label"] in COLOURS
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        until(lambda: not any(map(alive, workers)), "the end of all processes")


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_changed_weights_and_a_port_in_use_are_refused_in_a_line(
    model: Path, tmp_path: Path
) -> None:
    weights = model / "data" / "soup" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    try:
        with serving(tmp_path, model) as server:
            assert server.process.wait(300) == 2
            assert "model.safetensors (changed)" in server.log()
            assert "Traceback" not in server.log()
    finally:
        weights.write_bytes(content)
