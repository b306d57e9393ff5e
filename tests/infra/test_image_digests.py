"""infra/images.sh, with a stub in the place of docker, which asks registries."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import REPO

NEW = "sha256:" + "1" * 64
BASE = re.compile(r"FROM (python:\S+)@(sha256:\w{64}) AS base")


@pytest.fixture
def infra(tmp_path: Path) -> Path:
    folder = tmp_path / "infra"
    folder.mkdir()
    for name in ("images.sh", "Dockerfile", "compose.yaml"):
        shutil.copy(REPO / "infra" / name, folder)
    shutil.copytree(REPO / "infra/k8s", folder / "k8s")
    return folder


def run(infra: Path, verb: str, answers: dict[str, str]) -> tuple[int, str]:
    """The script, where registries say these digests of tags; of another tag, what is pinned."""
    stub = infra.parent / "docker"
    cases = "".join(f"  {tag}) echo {digest};;\n" for tag, digest in answers.items())
    pinned = f"grep -rhoE \"$4@sha256:[0-9a-f]{{64}}\" '{infra}' | head -1 | cut -d@ -f2"
    stub.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3" = "buildx imagetools inspect" ] || exit 9\n'
        f'case "$4" in\n{cases}  *) {pinned};;\nesac\n'
    )
    stub.chmod(0o755)
    done = subprocess.run(
        [str(infra / "images.sh"), verb],
        env={**os.environ, "PATH": f"{infra.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_digests_are_compared_with_what_the_registries_say(infra: Path) -> None:
    base = BASE.search((infra / "Dockerfile").read_text())
    assert base
    code, said = run(infra, "check", {})
    assert (code, said.count(": the same")) == (0, 7), said
    code, said = run(infra, "check", {base[1]: NEW})
    assert code == 1
    assert f"{base[1]}: {base[2]} is now {NEW}" in said
    assert base[0] in (infra / "Dockerfile").read_text()  # nothing is written


def test_digests_are_renewed_in_every_file(infra: Path) -> None:
    postgres = "postgres:17.11-bookworm"
    assert run(infra, "renew", {postgres: NEW})[0] == 0
    for file in ("compose.yaml", "k8s/overlays/local/postgres.yaml"):
        assert f"image: {postgres}@{NEW}" in (infra / file).read_text()
    assert (infra / "Dockerfile").read_text() == (REPO / "infra/Dockerfile").read_text()
    assert not [*infra.rglob("*.old")]


def test_what_is_no_digest_is_not_written(infra: Path) -> None:
    code, said = run(infra, "renew", {"postgres:17.11-bookworm": "unauthorized"})
    assert code == 2
    assert "postgres:17.11-bookworm: no digest, but 'unauthorized'" in said
    assert (infra / "compose.yaml").read_text() == (REPO / "infra/compose.yaml").read_text()
