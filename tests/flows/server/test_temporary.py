"""A server for one run: at a port that nobody else could take, and asked for nothing in vain."""

import os
import socket
import subprocess
import urllib.request
from pathlib import Path
from types import SimpleNamespace
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


@pytest.mark.parametrize("home", [None, "/elsewhere"])
def test_its_history_is_where_make_ui_looks_unless_prefect_home_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str | None
) -> None:
    class Began(Exception): ...

    given: dict[str, str] = {}

    def began(_: list[str], env: dict[str, str], **__: object) -> None:
        given.update(env)
        raise Began

    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    if home:
        monkeypatch.setenv("PREFECT_HOME", home)
    monkeypatch.setattr(subprocess, "Popen", began)
    # As of a program that sets nothing; these tests have set its home.
    nothing = SimpleNamespace(to_environment_variables=lambda **_: {})
    monkeypatch.setattr("prefect.settings.get_current_settings", lambda: nothing)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(Began),
        temporary_server(),
    ):
        pass
    assert given["PREFECT_HOME"] == (home or str(tmp_path / ".prefect"))
