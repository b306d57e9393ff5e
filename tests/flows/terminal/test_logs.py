"""Lines of JSON that say what they belong to, from a process of their own."""

import io
import json
import logging
import subprocess
import sys

import pytest

from flows.terminal.logs import Lines, MaskingConsole
from tests.checkouts import REPO

PROGRAM = """
import warnings
from flows.terminal import logs
from soup.terminal.progress import Display
from rich.text import Text
console = logs.console()
display = Display(console)
with logs.log_context(stage="finetune", sweep="s1"):
    display.say("  ft-000", Text("1/2", "dim"), "done")
    logs.log.info("step", extra={"fine_tune": "ft-000", "step": 7, "train/loss": 0.5, "none": None})
    console.print("one", "line", "and\\nanother")
    with logs.log_context(run="r1"):
        logs.log.warning("within")
console.print(Text("error:", "red"), "a file is missing", soft_wrap=True)
warnings.warn("careful")
raise RuntimeError("the end")
"""


def said(**environment: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=REPO,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(REPO), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    return ran.stderr.splitlines()


@pytest.mark.slow
def test_every_line_is_json_and_says_what_it_belongs_to() -> None:
    lines = [json.loads(line) for line in said(MODELSOUP_LOG="json")]
    assert all(line.pop("time").endswith("+00:00") for line in lines)
    within = {"stage": "finetune", "sweep": "s1"}
    step = {"fine_tune": "ft-000", "step": 7, "train/loss": 0.5}
    assert lines[:7] == [
        {"level": "info", "message": "ft-000 1/2 done", **within},
        {"level": "info", "message": "step", **within, **step},
        {"level": "info", "message": "one line and", **within},
        {"level": "info", "message": "another", **within},
        {"level": "warning", "message": "within", **within, "run": "r1"},
        {"level": "error", "message": "error: a file is missing"},
        lines[6],
    ]
    assert "careful" in lines[6]["message"]
    assert lines[6]["level"] == "warning"
    assert lines[7]["message"] == "RuntimeError: the end"
    assert lines[7]["level"] == "critical"
    assert "Traceback" in lines[7]["exception"]
    assert len(lines) == 8


SECRET = "http://ada:s3cret@mlflow:5000/api"


def test_the_terminal_shows_no_password() -> None:
    text = io.StringIO()
    console = MaskingConsole(file=text, width=100)
    console.print(f"MLflow at [bold]{SECRET}[/] answers,", "and", f"so does {SECRET}")
    assert text.getvalue().count("http://mlflow:5000/api") == 2
    assert "s3cret" not in text.getvalue()


def test_a_log_line_has_no_password() -> None:
    record = logging.LogRecord("modelsoup", logging.INFO, "", 0, f"opened {SECRET}", (), None)
    record.store = SECRET
    try:
        raise ConnectionError(f"{SECRET} is away")
    except ConnectionError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    text = Lines().format(record)
    line = json.loads(text)
    assert line["message"] == "opened http://mlflow:5000/api"
    assert line["store"] == "http://mlflow:5000/api"
    assert "http://mlflow:5000/api is away" in line["exception"]
    assert "s3cret" not in text


@pytest.mark.slow
def test_people_keep_their_lines() -> None:
    lines = said()
    assert lines[0] == "  ft-000 1/2 done"
    assert "error: a file is missing" in lines
    assert not [line for line in lines if line.startswith("{")]
