"""soup serve: a registered model, or one in a folder, behind HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from soup.errors import BadInput


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A registered model, as NAME@ALIAS, NAME/VERSION or models:/..., or a folder.",
            metavar="MODEL",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen at. The server has no passwords: put a proxy that has in "
            "front of it before others can reach it.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. [default: one for each core this command may use]"),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A host name by which clients call the server, besides --host and localhost, or "
            "*.example.org; repeat it for more.",
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A public key (PEM): refuse a model that was not signed with its private key "
            "('soup champion promote --sign').",
        ),
    ] = None,
    max_body: Annotated[
        float, typer.Option(metavar="MIB", min=0.001, max=1024, help="Largest request.")
    ] = 16,
    max_pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most pictures or texts of a request.")
    ] = 256,
    max_waiting: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Most requests that one process holds; others get 503 and may try again.",
        ),
    ] = 64,
    registry: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow's server or database.")
    ] = None,
) -> None:
    """Serve a model over HTTP, as 'mlflow models serve' does.

    soup serve shapes-soup@champion

    curl -s http://127.0.0.1:8000/invocations -H 'Content-Type: application/json'
    -d "{\\"inputs\\": [\\"$(base64 -w0 cat.png)\\"]}"

    -d '{"inputs": ["a sentence", ["a question", "its answer"]]}'  (a model of texts)

    The model is fetched, every file is checked against its digest, and nothing is run that came
    with it. A picture or text that cannot be used has the reason in its row, as 'error', and the
    others are answered. Ctrl-C or SIGTERM ends the server when it has answered what it holds.
    """
    import os

    from soup.cli.served_model import checked
    from soup.cli.terminal import bold, say, warn

    if not hasattr(os, "fork"):
        raise BadInput("soup serve forks its processes, which this system cannot")
    if verify is not None and not verify.is_file():
        raise BadInput(f"--verify {verify}: there is no such file")
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a process has one core
    from soup.cores import cores
    from soup.serving import addresses, server
    from soup.serving.protocol import HELD, Limits

    hosts = addresses.hosts_of(host, allow or [])
    listening = addresses.listen(host, port)
    found = checked(model, registry, verify)
    if found.warning:
        warn(found.warning)
    body = int(max_body * (1 << 20))
    limits = Limits(body, max_pictures, waiting=max_waiting, held=max(4 * body, HELD))
    count = workers or cores()

    def tell(address: str) -> None:
        say(bold(found.whose), f"answers at {address}/invocations in {count} processes")

    server.serve(found.folder, listening, count, hosts, limits, tell)
