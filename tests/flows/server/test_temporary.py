"""A server for one run: at a port that nobody else could take, and asked for nothing in vain."""

import socket
import urllib.request
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings, temporary_settings

from flows.server.temporary import temporary_server
from tests import homes

pytestmark = pytest.mark.slow


def test_it_holds_its_port_from_the_start_and_wants_no_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(homes.furnish(tmp_path)))
    with (
        temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}),
        temporary_server(),
    ):
        api = str(PREFECT_API_URL.value())
        assert urllib.request.urlopen(f"{api}/health", timeout=60).read() == b"true"
        port = int(api.rsplit(":", 1)[1].removesuffix("/api"))
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        assert get_current_settings().flows.heartbeat_frequency is None
    assert PREFECT_API_URL.value() != api
