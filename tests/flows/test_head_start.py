"""What is begun while Prefect's server starts."""

from pathlib import Path
from typing import Any

import pytest

from flows.head_start import head_start
from soup.config.params import load
from soup.pipeline.demo import pretrain
from soup.train import fork_server
from tests.checkouts import REPO


@pytest.mark.parametrize("done", [False, True])
def test_the_base_of_the_demo_is_begun_unless_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr(fork_server, "fork_fork_server", lambda library: None)
    begun = list[Any]()
    monkeypatch.setattr(pretrain, "begin", lambda *given: begun.append(given))
    params = load(REPO / "params.yaml")
    out = tmp_path / "out" / params.experiment
    out.mkdir(parents=True)
    if done:
        (out / "base.json").write_text("{}")
    head_start(params)
    assert begun == ([] if done else [(params.base, params.data)])
