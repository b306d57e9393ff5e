"""Shell scripts of infra/."""

import re
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import REPO

SCRIPTS = sorted((REPO / "infra").rglob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(REPO)))
def test_a_script_can_be_read_by_bash(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if script.stat().st_mode & stat.S_IXUSR:
        text = script.read_text()
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "set -euo pipefail" in text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "infra").mkdir()
    shutil.copy(REPO / "infra/secrets.sh", tmp_path / "infra")
    shutil.copy(REPO / ".env.example", tmp_path)
    return tmp_path


def made(checkout: Path, *arguments: str) -> dict[str, str]:
    subprocess.run(
        ["bash", "infra/secrets.sh", *arguments], cwd=checkout, check=True, capture_output=True
    )
    return dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", (checkout / ".env").read_text(), re.M))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_secrets_are_made_once_of_their_own_and_for_nobody_else_to_read(checkout: Path) -> None:
    first = made(checkout, "soup.example")
    assert first["PUBLIC_HOST"] == "soup.example"
    passwords = [v for name, v in first.items() if re.search("PASSWORD|SECRET", name)]
    assert len(passwords) == len(set(passwords)) == 9
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in passwords)
    assert "" not in first.values()
    key = checkout / "infra/proxy/tls/key.pem"
    for private in (checkout / ".env", key):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    ssl.create_default_context().load_cert_chain(key.with_name("cert.pem"), key)
    assert made(checkout, "other.example") == first


def test_what_is_made_is_not_for_git() -> None:
    for name in (".env", "infra/proxy/tls/key.pem"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=REPO, check=False)
        assert ignored.returncode == 0, name


@pytest.mark.parametrize("host", ["$(touch made)", "a b", "x;touch made", "-x", "a\nb", "'"])
def test_a_host_that_is_no_name_is_refused_and_not_run(checkout: Path, host: str) -> None:
    ran = subprocess.run(
        ["bash", "infra/secrets.sh", host],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "is no host name" in ran.stderr
    assert not (checkout / ".env").exists()
    assert not (checkout / "made").exists()


def test_what_is_written_can_be_sourced_and_runs_nothing(checkout: Path) -> None:
    made(checkout, "soup.example")
    env = checkout / ".env"
    env.write_text(env.read_text() + "MODELSOUP_WEBHOOK='$(touch made)'\n")
    script = 'set -eua; . ./.env; printf %s "$MODELSOUP_WEBHOOK"'
    said = subprocess.run(
        ["bash", "-c", script], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert said.stdout == "$(touch made)"
    assert not (checkout / "made").exists()
