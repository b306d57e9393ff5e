"""Ingredients, a judge and a recipe brought together."""

import json
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from soup.evaluation.predict import heldout_judge
from soup.models import Architecture, build
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.recipes.uniform import uniform
from soup.tracking import Store, ingredients


@dataclass(frozen=True)
class SoupResult:
    """A soup, and its trace as a table.

    Columns of the trace: step, name, heldout_errors (NaN where judging stopped early),
    heldout_accuracy, at_most, kept, examples_seen (images judged), heldout_n.
    """

    soup: Soup
    trace: pd.DataFrame


class CandidatePool:
    """Cooks any recipe from the same ingredients, judged on the same held-out images.

    Attributes:
        ranked: the ingredients, ranked, at least one.
        architecture: of all of them.
        heldout: the examples that soups are judged on.
        model: one to load weights into.
    """

    def __init__(self, project: Project, store: Store) -> None:
        """Pull the sweep's ingredients that the soup may be made of, ranked.

        Raises:
            TrackingError: none was scored, they do not belong together, or weights were changed.
        """
        runs = json.loads((project.out / "finetune.json").read_text())["runs"]
        probe_too = project.params.soup.include_probe
        wanted = [run_id for name, run_id in runs.items() if probe_too or name != "probe"]
        self.ranked = ingredients(store, wanted, project.cache / "models")
        self.architecture = Architecture.load(self.ranked[0].folder / "model.json")
        self.heldout = heldout_of(project, self.architecture)
        self.model = build(self.architecture).to(project.device())
        self._batch_size = project.params.compute.eval_batch_size

    @property
    def shared(self) -> dict[str, str]:
        """The tags that all ingredients share: base, split, sweep."""
        return {key: self.ranked[0].run.tags[key] for key in ("base", "split", "sweep")}

    def cook(
        self, recipe: Literal["uniform", "greedy"], tie: Literal["keep", "reject"] = "keep"
    ) -> SoupResult:
        """Cook; the judge visits first what most ingredients got wrong."""
        ingredients = [stored.ingredient for stored in self.ranked]
        correct = [stored.correct for stored in self.ranked]
        name, size = self.architecture.model, self._batch_size
        judge = heldout_judge(self.model, self.heldout, name, correct, size)
        made = (
            uniform(ingredients, judge) if recipe == "uniform" else greedy(ingredients, judge, tie)
        )
        n = len(self.heldout)
        # The first of a greedy trace is not judged, nor are a uniform soup's one by one.
        examples_seen = [0, *judge.examples_seen] if recipe == "greedy" else [0] * len(made.trace)
        trace = pd.DataFrame(
            {
                "step": step,
                "name": trial.name,
                "heldout_errors": trial.errors,
                "heldout_accuracy": None if trial.errors is None else 1 - trial.errors / n,
                "at_most": trial.at_most,
                "kept": trial.kept,
                "examples_seen": images,
                "heldout_n": n,
            }
            for step, (trial, images) in enumerate(zip(made.trace, examples_seen, strict=True))
        )
        numbers = ["heldout_errors", "heldout_accuracy", "at_most"]
        trace[numbers] = trace[numbers].astype(float)
        return SoupResult(made, trace)
