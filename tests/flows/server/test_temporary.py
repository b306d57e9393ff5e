"""A server for one run: at a port that nobody else could take, and asked for nothing in vain."""

import os
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings, temporary_settings

from flows.server.temporary import temporary_server
from tests import homes

pytestmark = pytest.mark.slow


def test_it_holds_its_port_from_the_start_and_wants_no_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = []

    def spawn(command: list[str], **options: Any) -> Any:
        (descriptor,) = options["pass_fds"]
        with socket.socket(fileno=os.dup(descriptor)) as held:
            handed.append(held.getsockname()[1])
        return plain(command, **options)

    plain = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", spawn)
    monkeypatch.setenv("PREFECT_HOME", str(homes.furnish(tmp_path)))
    with (
        temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}),
        temporary_server(),
    ):
        api = str(PREFECT_API_URL.value())
        assert urllib.request.urlopen(f"{api}/health", timeout=60).read() == b"true"
        assert handed == [urlsplit(api).port]
        assert get_current_settings().flows.heartbeat_frequency is None
    assert PREFECT_API_URL.value() != api
