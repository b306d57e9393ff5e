"""The end of a run: what it took, and where to look next."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows import summary
from flows.server import temporary
from flows.terminal.logs import MaskingConsole
from soup.config.params import Params, parse
from tests import checkouts, homes

RECORDS: dict[str, Any] = {
    "finetune": {"seconds": 690.0},
    "cook": {"seconds": 6.0, "recipe": "greedy", "kept": ["ft-000", "ft-001"]},
    "register": {"seconds": 0.0, "model": "m", "version": "1"},
}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Those of params.yaml in a project that has results."""
    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(temporary, "used", True)
    homes.tracking(tmp_path)
    raw = checkouts.parameters(tmp_path)
    checkouts.write(tmp_path)
    models = ["zero-shot", "initialisation", "best single", "greedy soup", "greedy ensemble", "ft"]
    splits = ["heldout", "test", "v2", "sketch", "r", "objectnet", "a", "shifts"]
    kinds = {"ft": "ingredient", "greedy soup": "greedy"}
    rows = [
        (model, kinds.get(model, model), split, 0.5 + 0.01 * place)
        for place, model in enumerate(models)
        for split in splits
    ]
    out = tmp_path / "out" / raw["experiment"]
    out.mkdir(parents=True)
    columns = ["model", "kind", "split", "accuracy"]
    pd.DataFrame(rows, columns=columns).to_csv(out / "results.csv")
    tests = [("test", 0.01, 0.0, 0.02, 0.04)]
    columns = ["split", "difference", "low", "high", "p_value"]
    pd.DataFrame(tests, columns=columns).to_csv(out / "tests.csv")
    return parse(raw)


def shown(
    monkeypatch: pytest.MonkeyPatch, params: Params, seconds: float, width: int = 80
) -> list[str]:
    console = MaskingConsole(width=width, record=True, force_terminal=True, file=io.StringIO())
    monkeypatch.setattr(summary, "console", lambda: console)
    summary.summary(params, RECORDS, seconds)
    return console.export_text().splitlines()


def test_nothing_is_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    lines = shown(monkeypatch, params, 700)
    for model in ("zero-shot", "initialisation", "best single", "greedy soup", "greedy ensemble"):
        assert any(model in line for line in lines)
    words = " ".join(lines).split()
    assert {"held-out", "sketch", "objectnet", "shifts"} <= set(words)
    assert not any("…" in line for line in lines)
    assert "ft" not in words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (700, "This run took 700 s."),
        (3, "This run took 3 s; its stages, when they ran, 696 s."),
    ],
)
def test_a_run_that_reuses_all_says_what_it_took_itself(
    monkeypatch: pytest.MonkeyPatch, params: Params, seconds: float, told: str
) -> None:
    assert told in "\n".join(shown(monkeypatch, params, seconds, 200))


def test_the_demo_is_named_when_it_ran_and_not_when_another_config_did(
    monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    demo = "\n".join(shown(monkeypatch, params, 1))
    assert "make demo again" in demo
    assert "make repro" in demo
    assert "Watch      make ui            (MLflow and Prefect in the browser)" in demo
    other = params.model_copy(update={"soup": params.soup.model_copy(update={"tie": "reject"})})
    lines = "\n".join(shown(monkeypatch, other, 1))
    assert "make demo" not in lines
    assert "make repro" not in lines
    assert "Change     its parameters, and run it again: only what changed is redone" in lines


def test_servers_that_are_elsewhere_are_named(
    monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    monkeypatch.setattr(temporary, "used", False)
    monkeypatch.setattr(summary.PREFECT_UI_URL, "value", lambda: "https://me:secret@prefect.lab")
    lines = "\n".join(shown(monkeypatch, params, 1, 200))
    assert "Watch      https://prefect.lab, make ui            (MLflow in the browser)" in lines
