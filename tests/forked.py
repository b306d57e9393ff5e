"""Programs that each begin in an interpreter that has imported some packages and nothing else.

One process imports these, and each program is a fork of it: it is spared the imports, and none
finds what another has imported.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.checkouts import REPO

SERVER = """
import importlib, json, os, sys, traceback

class Missing:
    names = set()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def run(told):
    for number, file in ((1, told["out"]), (2, told["err"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(told["environment"])
    sys.argv = told["words"]
    Missing.names |= set(told["hidden"])
    try:
        exec(told["code"], {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    with open(told["loaded"], "w") as file:
        json.dump([*sys.modules], file)
    os._exit(code)

sys.meta_path.insert(0, Missing())
imports, hidden = json.loads(sys.argv[1])
Missing.names |= set(hidden)
for name in imports:
    importlib.import_module(name)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            run(json.loads(line))
        finally:
            os._exit(99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """What a program answered, and the modules that it had loaded at its end."""

    code: int
    out: str
    err: str
    loaded: set[str]


class Forks:
    """See `forks`."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process, self._folder = process, folder

    def soup(
        self, *words: object, name: str = "soup", hidden: Sequence[str] = (), **environment: str
    ) -> Ended:
        """Run the command of this name; packages that are `hidden` are as if not installed."""
        return self.python(
            "from soup.cli import main; main()", name, *words, hidden=hidden, **environment
        )

    def python(
        self, code: str, *words: object, hidden: Sequence[str] = (), **environment: str
    ) -> Ended:
        """Run Python with `words` as its sys.argv."""
        out, err, loaded = (self._folder / kind for kind in ("out", "err", "loaded"))
        loaded.unlink(missing_ok=True)
        told = {"code": code, "words": [*map(str, words)], "hidden": [*hidden]}
        told |= {
            "environment": environment,
            "out": str(out),
            "err": str(err),
            "loaded": str(loaded),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ended(code, out.read_text(), err.read_text(), set(json.loads(loaded.read_text())))


@contextmanager
def forks(*imports: str, hidden: Sequence[str] = ()) -> Iterator[Forks]:
    """Programs begin with these modules imported; `hidden` packages are there for none of them."""
    command = [sys.executable, "-c", SERVER, json.dumps([imports, hidden])]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=REPO, stdin=pipe, stdout=pipe, text=True) as process,
    ):
        yield Forks(process, Path(folder))
