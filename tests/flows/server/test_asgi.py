"""Prefect's server keeps what it writes in its own folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkouts import REPO


@pytest.mark.slow
def test_the_pages_are_copied_beside_the_database_and_not_into_the_environment(
    tmp_path: Path,
) -> None:
    """The environment may belong to another user, and is shared by all runs."""
    subprocess.run(
        [sys.executable, "-c", "import flows.server.asgi"],
        env={**os.environ, "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(REPO)},
        capture_output=True,
        check=True,
    )
    assert [*tmp_path.glob("pages/*/index.html")]
