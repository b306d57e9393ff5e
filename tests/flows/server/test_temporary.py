"""A server for one run: at a port that nobody else could take, and asked for nothing in vain."""

import os
import re
import socket
import sqlite3
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    get_current_settings,
    temporary_settings,
)

from flows.server import temporary
from flows.server.temporary import temporary_server
from soup.older_databases import copies
from tests import doors, homes

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _servers_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And not with the process that runs all tests: a server that nobody asks goes on computing."""
    ends: list[Callable[[], object]] = []
    atexit = SimpleNamespace(register=lambda *call: ends.append(partial(*call)))
    monkeypatch.setattr(temporary, "atexit", atexit)
    yield
    for end in ends:
        end()


def test_it_holds_its_port_from_the_start_and_wants_neither_heartbeats_nor_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = []

    def spawn(command: list[str], **options: Any) -> Any:
        if "pass_fds" not in options:  # another program's
            return plain(command, **options)
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
    assert not (tmp_path / "memo_store.toml").exists()  # which says what types
    assert PREFECT_API_URL.value() != api


class Began(Exception): ...


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, str]]:
    """The environment that a server would be given, which is not started."""
    environment: dict[str, str] = {}

    def began(_: list[str], env: dict[str, str], **__: object) -> None:
        environment.update(env)
        raise Began

    def begin() -> dict[str, str]:
        with (
            temporary_settings(restore_defaults={PREFECT_API_URL}),
            pytest.raises(Began),
            temporary_server(),
        ):
            pass
        return {**environment}

    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", began)
    # As of a program that sets nothing; these tests have set its home.
    nothing = SimpleNamespace(to_environment_variables=lambda **_: {})
    monkeypatch.setattr("prefect.settings.get_current_settings", lambda: nothing)
    return begin


@pytest.mark.parametrize("home", [None, "/elsewhere"])
def test_its_history_is_where_make_ui_looks_unless_prefect_home_is_set(
    given: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    home: str | None,
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    if home:
        monkeypatch.setenv("PREFECT_HOME", home)
    assert given()["PREFECT_HOME"] == (home or str(tmp_path / ".prefect"))


def test_each_has_a_password_of_its_own(given: Callable[[], dict[str, str]]) -> None:
    passwords = [given()["PREFECT_SERVER_API_AUTH_STRING"] for _ in range(2)]
    assert all(re.fullmatch(r"modelsoup:\S{32}", password) for password in passwords)
    assert len(set(passwords)) == 2


def test_a_history_of_an_earlier_prefect_is_copied_before_the_server_migrates_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def began(*_: object, **__: object) -> None:
        assert len(copies(database)) == 1
        raise Began

    database = homes.furnish(tmp_path) / "prefect.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9725c1cbee35'")  # the first
    monkeypatch.setattr(subprocess, "Popen", began)
    with (
        temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}),
        pytest.raises(Began),
        temporary_server(),
    ):
        pass
    assert "was of an earlier prefect" in " ".join("".join(capsys.readouterr()).split())


def test_it_refuses_strangers_and_its_password_is_nowhere_but_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = homes.furnish(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    started = []

    def spawn(command: list[str], **options: Any) -> Any:
        started.append(plain(command, **options))
        return started[-1]

    plain = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", spawn)
    with (
        temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}),
        temporary_server(),
    ):
        known = str(PREFECT_API_AUTH_STRING.value())
        port = urlsplit(str(PREFECT_API_URL.value())).port
        assert port
        doors.prefect_wants_a_password(port, known)
        doors.prefect_refuses_strangers(port, known)
        assert get_client(sync_client=True).api_version()
    line = Path(f"/proc/{started[-1].pid}/cmdline").read_bytes().decode()
    assert "flows.server.temporary" in line
    assert known not in line
    assert PREFECT_API_AUTH_STRING.value() is None
    password = known.removeprefix("modelsoup:")
    assert len(password) == 32
    assert password not in "".join(capfd.readouterr())
    for file in filter(Path.is_file, home.rglob("*")):
        assert password.encode() not in file.read_bytes(), file
