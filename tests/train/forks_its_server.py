"""A program that forks its fork server, and tells what a process that this starts sees."""

import gc
import json
import os
import select
import sys
from multiprocessing.connection import Connection


def look(tell: Connection) -> None:
    names = ("only.here", "timm", "transformers.modeling_utils")
    tell.send(
        {name: name in sys.modules for name in names}
        | {"parent": os.getppid(), "looks for garbage": gc.isenabled()}
    )


if __name__ == "__main__":
    from soup.train import fork_server
    from tests.train.forks_its_server import look as known  # by a name that a child finds

    sys.modules["only.here"] = json  # which no new interpreter has
    reader, writer = os.pipe()  # as to a server that ends with this program
    gc.disable()
    fork_server.fork_fork_server("transformers")
    os.close(writer)
    # A minute is for what never comes: where somebody else holds the other end.
    end = bool(select.select([reader], [], [], 60)[0]) and os.read(reader, 1) == b""
    context = fork_server.fork_server()
    ours, theirs = context.Pipe(duplex=False)
    context.Process(target=known, args=(theirs,)).start()
    print(json.dumps(ours.recv() | {"end of pipe": end}), flush=True)
    sys.stdin.read()
