"""The commit of a checkout."""

import subprocess
from pathlib import Path

from soup.commit import git_commit


def test_a_checkout_has_its_commit_and_says_if_it_was_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as committed")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["init"],
        ["add", "."],
        ["commit", "-m", "start"],
        ["tag", "-a", "v1", "-m", "1"],
    ):
        subprocess.run([*git, *command], cwd=tmp_path, check=True, capture_output=True)
    head = ["git", "rev-parse", "HEAD"]
    whole = subprocess.run(head, cwd=tmp_path, check=True, capture_output=True, text=True)
    commit = whole.stdout.strip()
    assert git_commit(tmp_path) == commit  # and not the tag
    assert git_commit(tmp_path, digits=12) == commit[:12]
    (tmp_path / "file").write_text("changed")
    assert git_commit(tmp_path) == f"{commit}+changes"


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == ""
