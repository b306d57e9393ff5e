"""A project at some stage, without Prefect."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soup import tracking
from soup.config.params import parse
from soup.pipeline.project import Project
from soup.pipeline.stages import base, prepare, probe
from soup.pipeline.sweep.opening import open_sweep
from tests import checkouts, homes, worlds


class Silent:
    """A watcher that looks away."""

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def done(self, name: str, message: str) -> None: ...

    def say(self, message: str) -> None: ...


def record(project: Project, name: str, facts: Mapping[str, object]) -> None:
    """Write a stage's record, as flows do."""
    (project.out / f"{name}.json").write_text(json.dumps({**facts, "seconds": 1.0}))


def probed(root: Path, norm_layer: str = "groupnorm1", **changes: Any) -> Project:
    """A project in which everything up to the probe is done."""
    worlds.world(root / "data", train=40, test=12)
    worlds.draw(root / "data" / "dark", {"blue": 8, "red": 8}, first=900)
    worlds.put(root / "base", worlds.tiny(norm_layer=norm_layer))
    (root / "base" / "model.safetensors").rename(root / "base.safetensors")
    raw = checkouts.parameters(root, **changes)
    raw["base"] |= {"kwargs": {**worlds.KWARGS, "norm_layer": norm_layer}}
    project = Project(root, parse(raw), {"flow_run": "none"})
    project.out.mkdir(parents=True)
    homes.tracking(root)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(project, name, stage.run(project))
    return project


def swept(project: Project) -> Project:
    """The project after its sweep."""
    sweep = open_sweep(project, code="code", threads=1)
    outcomes = {name: sweep.run(name, ("cpu",), Silent()) for name in sweep.steps}
    record(project, "finetune", sweep.close(outcomes))
    return project


def swept_project(root: Path) -> Project:
    """A project in which everything up to the sweep is done; its predictions are not kept."""
    return swept(probed(root, evaluate={"bootstrap": 100, "keep_predictions": []}))


def champion_of(project: Project, number: str) -> tracking.Version:
    return tracking.version(project.store(), project.params.registry.model, number)
