"""What the repository's host reads: the release workflow, issue forms, the citation."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkouts import REPO

HOST = REPO / ".github"
SCHEMAS = {
    "vendor.github-workflows": [*HOST.glob("workflows/*.yml")],
    "vendor.github-issue-config": [HOST / "ISSUE_TEMPLATE/config.yml"],
    "vendor.github-issue-forms": [
        HOST / "ISSUE_TEMPLATE/bug.yml",
        HOST / "ISSUE_TEMPLATE/feature.yml",
    ],
    "vendor.citation-file-format": [REPO / "CITATION.cff"],
}
VERSION = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]


def schema_says(schema: str, files: list[Path]) -> subprocess.CompletedProcess[str]:
    names = [str(file) for file in files]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_host_can_read_each_file(schema: str, tmp_path: Path) -> None:
    assert SCHEMAS[schema]
    said = schema_says(schema, SCHEMAS[schema])
    assert said.returncode == 0, said.stdout
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("jobs: 3\nblank_issues_enabled: perhaps\n")
    assert schema_says(schema, [wrong]).returncode == 1


def steps(job: str) -> list[dict[str, Any]]:
    workflow = yaml.safe_load((HOST / "workflows/release.yml").read_text())
    return list(workflow["jobs"][job]["steps"])


@pytest.mark.parametrize(
    ("tag", "code"), [(f"v{VERSION}", 0), (VERSION, 1), (f"v{VERSION}1", 1), ("v9; true", 1)]
)
def test_a_tag_that_is_not_the_version_is_not_released(tag: str, code: int, tmp_path: Path) -> None:
    [check] = [step["run"] for step in steps("build") if "GITHUB_REF_NAME" in step.get("run", "")]
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(REPO / name)
    done = subprocess.run(
        ["bash", "-e", "-c", check],
        cwd=tmp_path,
        env={**os.environ, "GITHUB_REF_NAME": tag},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr


def test_what_is_published_was_tested_and_no_secret_is_needed() -> None:
    run = [step.get("run", step.get("uses", "")) for step in steps("build")]
    built = run.index(".venv/bin/hatchling build -d dist")
    assert run.index("make setup") < run.index("make audit") < run.index("make test") < built
    text = (HOST / "workflows/release.yml").read_text()
    workflow = yaml.safe_load(text)
    assert "secrets." not in text
    assert "${{" not in text  # a name of a tag that is put into a command could be one
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert not [step for step in steps("publish") if "run" in step]


def test_the_citation_is_of_this_version() -> None:
    assert yaml.safe_load((REPO / "CITATION.cff").read_text())["version"] == VERSION


def test_vulnerabilities_are_reported_in_private_and_no_address_is_left_to_fill_in() -> None:
    report = (REPO / "SECURITY.md").read_text().split("## ")[1]
    assert "private" in report
    assert "filled in" not in report
