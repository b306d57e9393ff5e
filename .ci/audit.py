"""Look for known vulnerabilities of the versions in requirements.lock, by pip-audit.

The exit code is 1 if there is a vulnerability that is not in ACCEPTED. If the index has no such
data or cannot be reached, the program says so and exits with 0: the change is not to blame.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
ACCEPTED: dict[str, str] = {}  # ID: why it does not affect us

OPTIONS = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def ask(entries: str) -> list[dict[str, Any]]:
    """The index's data on entries of the lock: {name, version, vulns}; [] if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.txt"
        asked.write_text(entries)
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(asked), *OPTIONS]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
            told = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return []
    return [package for package in told if "vulns" in package]  # else: the index lacks it


def main() -> int:
    entries = LOCK.read_text()
    first = entries[entries.index("\npillow==") : entries.index("\nplatformdirs==")].strip()
    if not ask(first + "\n"):  # try one entry before the hundreds of others
        print("audit skipped: the package index tells no vulnerabilities here")
        return 0
    packages = ask(entries)
    known = [
        (package, vulnerability)
        for package in packages
        for vulnerability in package["vulns"]
        if vulnerability["id"] not in ACCEPTED
    ]
    for package, vulnerability in known:
        fixed = ", ".join(vulnerability.get("fix_versions", [])) or "none yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in: {fixed}")
    print(f"audit: {len(known)} known vulnerabilities in {len(packages)} packages")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
