"""What the stage `report` tells of the ingredients."""

from types import SimpleNamespace
from typing import Any

from soup.pipeline.stages.report import _ingredients
from soup.tracking.tracked import Tracked


def test_no_hyperparameter_replaces_a_fact_of_its_ingredient() -> None:
    told = {"name": "big", "status": "failed", "kept": "0", "reason": "none", "lr": "0.1"}
    told |= {"run_id": "x", "url": "x", "heldout_accuracy": "0"}
    run = Tracked("r", "model_0", "FINISHED", "", {}, told, {"heldout/accuracy": 0.9})
    store: Any = SimpleNamespace(get=lambda _: [run], link=lambda run_id: f"link to {run_id}")
    sweep = {"runs": {"model_0": "r"}, "failed": {}}
    row = _ingredients(store, sweep, ["model_0"], "accuracy").to_dict("records")[0]
    assert row == {
        "name": "model_0",
        "run_id": "r",
        "url": "link to r",
        "status": "finished",
        "reason": "",
        "kept": True,
        "heldout_accuracy": 0.9,
        "lr": 0.1,
    }
