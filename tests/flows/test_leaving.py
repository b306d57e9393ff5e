"""The end of a command: all that is due is done, and what was imported is not taken apart."""

import subprocess
import sys

import pytest

from tests.checkouts import REPO

PROGRAM = """
import sys
import flows

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
with flows.as_command():
    import atexit, threading, time
    atexit.register(lambda: print("exit function"))
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("last", "code", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('what is wrong')", 1, "what is wrong"),
        ("raise ValueError('of nobody')", 1, "ValueError: of nobody"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
    ],
)
def test_a_command_ends_with_its_code_when_all_that_is_due_is_done(
    last: str, code: int, says: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, last]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    assert says in ran.stderr
    assert ran.stdout.splitlines() == ["thread", "exit function"]


def test_a_program_that_imports_flows_ends_as_any_other() -> None:
    program = PROGRAM.replace("with flows.as_command():", "if True:")
    command = [sys.executable, "-c", program, "sys.exit(3)"]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stdout.splitlines() == ["thread", "exit function", "taken apart"]
