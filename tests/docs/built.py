"""The site, as `make docs` builds it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.checkouts import REPO


def build(folder: Path) -> Path:
    """Build the site into `folder`; a warning of MkDocs fails."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
