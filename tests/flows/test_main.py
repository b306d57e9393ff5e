"""`python -m flows NAME`: one command for all stages, the pipeline and the doctor."""

import sys
from pathlib import Path
from typing import Any

import pytest

from flows import __main__, command, doctor
from flows.pipeline import pipeline
from flows.stages import STAGES


@pytest.mark.parametrize("name", [*STAGES, "pipeline"])
def test_it_runs_what_it_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "run", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(sys, "argv", ["flows", name, "--params", "mine.yaml", "--quiet"])
    __main__.main()
    flow = pipeline if name == "pipeline" else STAGES[name]
    assert calls == [(flow, "mine.yaml", True, name in ("pipeline", "finetune"))]


def test_it_reads_params_yaml_of_the_project_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "run", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(sys, "argv", ["flows", "cook"])
    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    __main__.main()
    assert calls == [(STAGES["cook"], str(tmp_path / "params.yaml"), False, False)]


@pytest.mark.parametrize("options", [[], ["--free"]])
def test_it_runs_the_doctor(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(doctor, "run", calls.append)
    monkeypatch.setattr(sys, "argv", ["flows", "doctor", *options])
    __main__.main()
    assert calls == [bool(options)]


def test_another_name_is_answered_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flows", "boil"])
    with pytest.raises(SystemExit) as exit:
        __main__.main()
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in [*STAGES, "pipeline", "doctor"])
