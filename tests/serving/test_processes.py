"""Where a server listens, and by which names it is called."""

import socket

import pytest

from soup.errors import BadInput
from soup.serving.addresses import hosts_of, listen


def test_a_port_in_use_is_told() -> None:
    with listen("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        with pytest.raises(BadInput, match=rf"127\.0\.0\.1 port {port}: another program uses it"):
            listen("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            pass
    listen("127.0.0.1", port).close()
    with pytest.raises(BadInput, match="cannot listen at no such host port 0"):
        listen("no such host", 0)


@pytest.mark.parametrize(
    ("host", "allowed", "names"),
    [
        ("127.0.0.1", [], set()),
        ("10.0.0.7", [], {"10.0.0.7"}),
        ("fd00::7", [], {"fd00::7", "[fd00::7]"}),
        ("0.0.0.0", ["models.example.org"], {"models.example.org"}),
        ("::", ["*.example.org"], {"*.example.org"}),
    ],
)
def test_a_server_is_called_by_its_own_names_and_those_allowed(
    host: str, allowed: list[str], names: set[str]
) -> None:
    assert {*hosts_of(host, allowed)} == {"127.0.0.1", "localhost", "::1", "[::1]"} | names


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_everywhere_says_by_which_names(host: str) -> None:
    with pytest.raises(BadInput, match=f"--host {host} listens at all addresses .* --allow"):
        hosts_of(host, [])


@pytest.mark.parametrize("name", ["*", "", "http://x", "a.*", "*x.example.org"])
def test_a_name_that_would_allow_more_than_it_says_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="give a host name"):
        hosts_of("127.0.0.1", [name])
