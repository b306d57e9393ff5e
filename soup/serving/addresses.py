"""Where a server listens, and by which names it may be called."""

import errno
import socket
from collections.abc import Sequence

from soup.errors import BadInput

CONNECTIONS = 1000  # open connections of one process; further ones get 503
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


def hosts_of(host: str, allowed: Sequence[str]) -> list[str]:
    """The names by which clients may call a server that listens at `host`.

    Raises:
        BadInput: the server listens at all addresses and `allowed` is empty, or a name is not a
            host name.
    """
    if host in EVERYWHERE and not allowed:
        raise BadInput(
            f"--host {host} listens at all addresses of this machine: say with --allow by which "
            "names clients call it, such as --allow models.example.org; requests under other names "
            "are refused"
        )
    for name in allowed:
        if not name or "/" in name or "*" in name[1:] or (name[0] == "*" and name[1:2] != "."):
            raise BadInput(f"--allow {name}: give a host name, or *.example.org, without a port")
    own = [] if host in EVERYWHERE else [host, f"[{host}]"] if ":" in host else [host]
    return [*LOOPBACK, *own, *allowed]


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        BadInput: the address cannot be used, or another program uses the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(CONNECTIONS)
    except (OSError, UnicodeError) as error:
        remedy = "another program uses it; give another --port" if _in_use(error) else str(error)
        raise BadInput(f"cannot listen at {host} port {port}: {remedy}") from None
    return listening


def _in_use(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def address_of(listening: socket.socket) -> str:
    """The address of a listening socket, http://HOST:PORT."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
