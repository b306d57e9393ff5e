"""The git commit of a checkout."""

import subprocess
from pathlib import Path


def git_commit(root: Path, digits: int = 40) -> str:
    """The commit of the checkout, with '+changes' if the work tree differs; '' outside git.

    Args:
        root: a folder of the checkout.
        digits: of the commit's hash; git gives more where fewer name several commits.
    """
    describe = ["git", "describe", "--always", f"--abbrev={digits}"]
    describe += ["--exclude=*", "--dirty=+changes"]
    try:
        result = subprocess.run(
            describe, cwd=root, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
