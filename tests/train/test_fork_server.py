"""A fork server forked from the program itself: nothing is imported twice, or held open."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests import checkouts
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks from itself on Linux alone"),
]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_it_has_what_the_program_imported_holds_none_of_its_pipes_and_ends_with_it() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.train.forks_its_server"],
        cwd=checkouts.REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = {}
    try:
        assert program.stdout is not None
        seen = json.loads(program.stdout.readline())
        assert seen["only.here"]
        assert seen["timm"]
        assert seen["transformers.modeling_utils"]
        assert seen["looks for garbage"]
        assert seen["end of pipe"]
        assert seen["parent"] != program.pid
        assert alive(seen["parent"])
        program.send_signal(signal.SIGKILL)
        program.wait()
        until(lambda: not alive(seen["parent"]), "the end of the fork server")
    finally:
        with suppress(ProcessLookupError, KeyError):
            os.kill(seen["parent"], signal.SIGKILL)
        program.kill()
        program.communicate()
