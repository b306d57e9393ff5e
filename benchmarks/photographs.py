"""Soups of real photographs: the paper's random search scaled to a small model, EMA, SWA and SAM.

    .venv/bin/python benchmarks/photographs.py            # about an hour and a half on 2 cores

Runs the pipeline on `configs/cifar10.yaml` (each run with two moving averages of its weights), and
on the same space with SWA and with SAM; then cooks from parts of each sweep, choosing on held-out
alone, and scores on test and on the shift. What is finished is reused. Per pool: best single,
uniform, greedy, learned and ensemble, 95% intervals, and greedy against best single on the same
examples (exact McNemar). Also what successive halving would have saved on the same runs: each rung
is read from their curves, at the nearest epoch that was scored.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from machine import REPO, machine

from soup.config.params import Params, parse
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.metrics import Logits, bootstrap, correct, mcnemar
from soup.evaluation.predict import predict
from soup.evaluation.targets import Targets
from soup.models import load_weights
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.evaluation_sets import sets_of
from soup.pipeline.project import Project
from soup.pipeline.sweep.sampling import runs_to_stop
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.recipes.learned import learned
from soup.recipes.uniform import uniform
from soup.tracking import Store, Stored, ingredients
from soup.weights import Weights

SPLITS = ("heldout", "test", "tinyimagenet")
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "-swa": {"ema": [], "swa": {"start": 0.6, "lr": 0.5}},
    # Two passes a step, and so half the epochs: the same computation.
    "-sam": {"ema": [], "space": {"sam": [0.05], "epochs": {"min": 2, "max": 3}}},
}


def parameters(config: Path, name: str, sweep: dict[str, Any], runs: int) -> Params:
    """The config with a variant of its sweep."""
    raw = yaml.safe_load(config.read_text())
    space = {**raw["sweep"]["space"], **sweep.get("space", {})}
    raw["sweep"] |= {**sweep, "space": space, "runs": runs}
    raw["experiment"] += name
    raw["register"]["model"] += name
    return parse(raw)


def run(params: Params) -> None:
    """The pipeline, in a process of its own."""
    file = REPO / "out" / f"{params.experiment}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(params.model_dump(mode="json", by_alias=True)))
    command = [sys.executable, "-m", "flows.pipeline", "--quiet", "--params", str(file)]
    subprocess.run(command, cwd=REPO, check=True)


class Table:
    """Cooks from parts of one sweep, and scores what comes out."""

    def __init__(self, params: Params) -> None:
        self.project = Project(REPO, params)
        store = self.project.store()
        self.pool = CandidatePool(self.project, store)
        self.sets, self.keys = sets_of(self.project, self.pool.architecture, self.pool.heldout)
        runs = json.loads((self.project.out / "finetune.json").read_text())["runs"]
        cache = self.project.cache / "models"
        self.everyone = ingredients(store, [*runs.values()], cache)
        self._answers: dict[str, dict[str, Logits]] = {}

    def row(self, pool: str, wanted: Callable[[str], bool], learn: bool) -> list[dict[str, Any]]:
        """What comes of the ingredients that are wanted, by name."""
        chosen = [stored for stored in self.everyone if wanted(stored.ingredient.name)]
        hardest = [stored.correct for stored in chosen]
        k = self.pool
        (judge,) = Evaluator(k.heldout, k.architecture, (k.model,), 256).judges(hardest)
        ranked = [stored.ingredient for stored in chosen]
        soups: dict[str, Soup] = {
            "uniform": uniform(ranked, judge),
            "greedy": greedy(ranked, judge),
        }
        if learn:
            soups["learned, by tensor"] = learned(ranked, self._objective(), judge, by="tensor")
        found = {"best single": self._single(chosen[0])}
        found |= {recipe: self._logits(soup.weights) for recipe, soup in soups.items()}
        kept = {recipe: len(soup.kept) for recipe, soup in soups.items()} | {"best single": 1}
        if learn:
            members = [self._single(stored) for stored in chosen]
            found["ensemble"] = {s: _mean([m[s] for m in members]) for s in self.sets}
            kept["ensemble"] = len(members)
        best = found["best single"]
        return [
            {"pool": pool, "of": len(chosen), "": name, "kept": kept[name]}
            | self._scores(logits, best if name == "greedy" else None)
            for name, logits in found.items()
        ]

    def _scores(self, logits: Mapping[str, Logits], against: Mapping[str, Logits] | None) -> dict:
        figures: dict[str, Any] = {}
        for split in SPLITS:
            right = self._right(logits, self.keys[split])
            low, high = bootstrap([right.astype(float)], 2000, 0.95, seed=0)
            figures[split] = f"{100 * right.mean():.2f} ±{50 * (high - low):.2f}"
            if against is not None:
                p = mcnemar(right, self._right(against, self.keys[split]))
                figures[f"p, {split}"] = f"{p:.2g}"
        return figures

    def _right(self, logits: Mapping[str, Logits], key: Targets) -> np.ndarray:
        return correct(key.project(logits[key.of]), key.labels)

    def _single(self, stored: Stored) -> dict[str, Logits]:
        name = stored.ingredient.name
        if name not in self._answers:
            self._answers[name] = self._logits(stored.ingredient.weights)
        return self._answers[name]

    def _logits(self, weights: Weights) -> dict[str, Logits]:
        k = self.pool
        load_weights(k.model, weights, k.architecture.model)
        return {s: predict(k.model, examples) for s, examples in self.sets.items()}

    def _objective(self) -> HeldoutLoss:
        import torch

        heldout = self.pool.heldout
        inputs = heldout.compact(np.arange(len(heldout)))
        labels = torch.from_numpy(heldout.labels)
        return HeldoutLoss(self.pool.model, inputs, labels, prepare=heldout.prepare)


def _mean(members: Sequence[Logits]) -> Logits:
    return np.mean([logits.astype(np.float64) for logits in members], axis=0)


def halving(store: Store, sweep: Path, rungs: tuple[float, ...], keep: float) -> str:
    """What successive halving would have saved on a sweep whose curves are known."""
    runs = json.loads(sweep.read_text())["runs"]
    plain = {n: r for n, r in runs.items() if n.count("-") == 1}
    curves = {n: store.client.get_metric_history(r, "heldout/accuracy") for n, r in plain.items()}
    points = {n: sorted((m.step, m.value) for m in curve) for n, curve in curves.items()}
    total = {name: curve[-1][0] for name, curve in points.items()}
    left, spent = dict(points), 0.0
    for share in rungs:
        scores = {
            name: float(min(curve, key=lambda p: abs(p[0] - share * total[name]))[1])
            for name, curve in left.items()
        }
        for name in runs_to_stop(scores, keep, share):
            spent += share * total[name]
            del left[name]
    spent += sum(total[name] for name in left)
    last = {name: curve[-1][1] for name, curve in points.items()}
    return (
        f"rungs {rungs}, keep {keep:.0%}: {spent / sum(total.values()):.0%} of the steps, "
        f"{len(left)} of {len(points)} runs go on; best on held-out {max(last.values()):.2%} "
        f"of all, {max(last[name] for name in left):.2%} of these"
    )


def pools(name: str, runs: int) -> dict[str, Callable[[str], bool]]:
    """The parts of a sweep that are cooked from, by name."""

    def first(name: str) -> bool:
        return name == "probe" or int(name.split("-")[1]) < runs

    def every(_: str) -> bool:
        return True

    if name == "":
        return {
            "as trained": lambda n: "ema" not in n,
            "with both EMAs": every,
            "EMA .98 alone": lambda n: n.endswith("ema-0.98"),
            "EMA .995 alone": lambda n: n.endswith("ema-0.995"),
            f"as trained, first {runs}": lambda n: first(n) and "ema" not in n,
        }
    if name == "-swa":
        return {"SWA alone": lambda n: n.endswith("swa"), "SWA and where it ended": every}
    return {"SAM, half the epochs": every}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=Path, default=REPO / "configs" / "cifar10.yaml")
    parser.add_argument("--runs", type=int, default=16, help="fine-tunes of the main sweep")
    parser.add_argument("--others", type=int, default=6, help="fine-tunes with SWA, and with SAM")
    parser.add_argument("--no-run", action="store_true", help="only cook from what is there")
    arguments = parser.parse_args()
    print(machine())
    rows = []
    for name, sweep in VARIANTS.items():
        count = arguments.runs if name == "" else arguments.others
        params = parameters(arguments.config, name, sweep, count)
        if not arguments.no_run:
            run(params)
        elif not (REPO / "out" / params.experiment / "finetune.json").exists():
            print(f"{params.experiment}: not there")
            continue
        table = Table(params)
        for pool, wanted in pools(name, arguments.others).items():
            rows += table.row(pool, wanted, learn=pool == "as trained")
        if name == "":
            for keep in (0.5, 1 / 3):
                sweep_file = table.project.out / "finetune.json"
                print("halving:", halving(table.project.store(), sweep_file, (0.25, 0.5), keep))
    frame = pd.DataFrame(rows)
    print(frame.fillna("").to_markdown(index=False))


if __name__ == "__main__":
    main()
