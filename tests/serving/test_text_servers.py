"""Real servers of a model of texts: `soup serve`, and `mlflow models serve`."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from soup.serving import TextClassifier
from soup.tracking import save_pyfunc
from tests import checkouts
from tests.servers import free_port
from tests.serving.test_command import alive, serving
from tests.waiting import until

pytestmark = pytest.mark.slow
ASKED: list[Any] = ["The cat likes a dog", "the bee fears an eel today", "an owl"]
PAIRS = [["The cat likes a dog", "an owl"], ["an owl", "the bee fears an eel today"]]


@pytest.fixture(scope="module")
def model(text_soup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    save_pyfunc(text_soup, folder)
    return folder


def answers(address: str, inputs: Any) -> list[dict[str, Any]]:
    body = json.dumps({"inputs": inputs}).encode()
    request = urllib.request.Request(
        f"{address}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        rows: list[dict[str, Any]] = json.load(answer)["predictions"]
    return rows


def require_the_model_s_answers(address: str, classifier: TextClassifier) -> None:
    for asked in (ASKED, PAIRS):
        rows, expected = answers(address, asked), classifier.predict(asked)
        assert [row["label"] for row in rows] == expected["label"].tolist()
        shares = [row["probabilities"]["yes"] for row in rows]
        wanted = [share["yes"] for share in expected["probabilities"]]
        assert shares == pytest.approx(wanted, abs=1e-5)


def test_soup_serve_answers_sentences_and_pairs_in_processes_that_ctrl_c_ends(
    model: Path, text_soup: Path, tmp_path: Path
) -> None:
    classifier = TextClassifier(text_soup)
    with serving(tmp_path, model, "--workers", 2) as server:
        address = server.address()
        until(lambda: len(server.workers()) == 2, "two processes")
        for _ in range(8):  # of both processes
            require_the_model_s_answers(address, classifier)
        mixed = answers(address, [ASKED[0], PAIRS[0], ""])
        assert [bool(row["error"]) for row in mixed] == [False, False, True]
        workers = server.workers()
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does
        assert server.process.wait(300) == 0
        assert not any(map(alive, workers))
        log = server.log()
    assert ", 3 texts, 0 refused" in log
    assert "Traceback" not in log
    assert "fork" not in log  # tokenizers warns where its threads are lost


def test_mlflow_models_serve_answers_sentences_and_pairs(
    model: Path, text_soup: Path, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)]
    options = ["--env-manager", "local", "-p", str(port), "--workers", "1"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *options],
            cwd=tmp_path,
            env=checkouts.environment(tmp_path, PYTHONPATH=str(checkouts.REPO)),
            start_new_session=True,
            stdout=file,
            stderr=file,
        )
    try:
        address = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return bool(urllib.request.urlopen(f"{address}/ping", timeout=60).status == 200)
            except OSError:
                return False

        until(ready, "the served model")
        require_the_model_s_answers(address, TextClassifier(text_soup))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
