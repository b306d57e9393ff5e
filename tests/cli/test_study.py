"""soup study: what it lists, and what it refuses before anything is computed."""

import shutil
from pathlib import Path

import pytest
import yaml

from soup.config.study_names import STUDIES
from soup.studies import study_of
from tests import checkouts
from tests.checkouts import REPO
from tests.cli.conftest import Command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose sweep was not made; its parameter file."""
    monkeypatch.delenv("MODELSOUP_ROOT", raising=False)
    shutil.copy(REPO / "dvc.yaml", tmp_path)
    file = tmp_path / "configs" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(checkouts.parameters(tmp_path)))
    return file


def test_the_list_and_the_help_have_the_question_of_each_study(soup: Command) -> None:
    listed, helped = soup("study", "--list"), soup("study", "--help")
    assert (listed.code, helped.code) == (0, 0)
    for name, question in STUDIES.items():
        assert name in listed.err
        assert question in listed.err
        assert question in helped.out


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_has_its_code_and_its_page(name: str) -> None:
    assert study_of(name).run
    page = (REPO / "docs" / "studies" / f"{name}.md").read_text()
    assert f"soup study {name}" in page
    assert "**The paper.**" in page
    assert f"[{name}]({name}.md)" in (REPO / "docs" / "studies" / "README.md").read_text()


def test_an_unknown_study_is_refused_with_those_that_are_near(soup: Command, project: Path) -> None:
    said = soup("study", "landscap", "--params", project)
    assert said.code == 2
    assert "no study 'landscap' (near: landscape); there are " in said.err


def test_without_a_sweep_the_command_that_makes_it_is_said(soup: Command, project: Path) -> None:
    said = soup("study", "landscape", "--params", project)
    assert said.code == 2
    assert (
        f"no finished sweep (finetune is not done): python -m flows pipeline --params {project}"
        in (said.err)
    )
    assert not (project.parents[1] / "out").exists()


def test_a_file_outside_of_a_project_is_refused(
    soup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELSOUP_ROOT", raising=False)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(checkouts.parameters(tmp_path)))
    said = soup("study", "angle", "--params", file)
    assert said.code == 2
    assert "is in no project (a folder with dvc.yaml)" in said.err


def test_an_unknown_study_in_the_parameters_is_a_problem_of_the_file(
    soup: Command, project: Path
) -> None:
    raw = yaml.safe_load(project.read_text())
    project.write_text(yaml.safe_dump({**raw, "studies": {"landscap": {}}}))
    said = soup("study", "angle", "--params", project)
    assert said.code == 2
    assert "no study 'landscap' (near: landscape)" in said.err
