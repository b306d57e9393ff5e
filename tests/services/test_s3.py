"""S3 of `make services`: what is said where rclone is missing, or too old to serve it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import REPO

OLD = """#!/usr/bin/env bash
case "$1" in
version) echo "rclone v1.60.1-DEV" ;;
serve) echo "  webdav      Serve remote:path over WebDAV." ;; # and exits with 0
esac
"""


def started(folder: Path) -> subprocess.CompletedProcess[str]:
    """s3_start, with no programs but those of a folder and the few that it calls."""
    for name in ("bash", "sed", "grep", "env", "mkdir", "cat", "head", "base64", "tr"):
        (folder / name).symlink_to(str(shutil.which(name)))
    parts = ("settings", "processes", "s3")
    script = "; ".join(f"source {REPO}/infra/services/{part}.sh" for part in parts)
    settings = {"SERVICES_DIR": str(folder / "s")}
    return subprocess.run(
        ["bash", "-c", f"{script}; s3_start"],
        env={"PATH": str(folder), "HOME": os.environ["HOME"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("rclone", "message"),
    [
        (None, "error: S3 needs rclone 1.65 or newer: https://rclone.org/downloads, or brew"),
        (OLD, "error: rclone v1.60.1-DEV cannot serve S3: install rclone 1.65 or newer"),
    ],
)
def test_a_rclone_that_is_missing_or_too_old_is_told_with_what_to_install(
    tmp_path: Path, rclone: str | None, message: str
) -> None:
    if rclone:
        (tmp_path / "rclone").write_text(rclone)
        (tmp_path / "rclone").chmod(0o755)
    done = started(tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
